public import CMedDINO
internal import Imaging
internal import MedDINO
internal import Platform
internal import Tensors

// include/meddino.h, section 3.

@c @implementation public func meddino_volume_init(_ pointer: UnsafeMutablePointer<meddino_volume>?, _ size: Int) {
  var v = defaultVolume()
  v.dims = (0, 0, 0)
  initialize(pointer, size, v)
}

@c @implementation public func meddino_volume_check(_ pointer: UnsafePointer<meddino_volume>?) -> meddino_status {
  guarded { () throws(MedDINOError) in _ = try volume(pointer, "volume", .either) }
}

@c @implementation public func meddino_image_read(
  _ context: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    out.pointee = handle(try Image.read(try text(path, "path"), context: context))
  }
}

@c @implementation public func meddino_image_read_with(
  _ context: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<meddino_file_options>?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    out.pointee = handle(try Image.read(try text(path, "path"), context: context, control: try fileControl(options)))
  }
}

@c @implementation public func meddino_image_read_for(
  _ model: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<meddino_file_options>?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let model = try object(model, "model", ModelHandle.self).model
    out.pointee = handle(try model.readImage(try text(path, "path"), control: try fileControl(options)))
  }
}

@c @implementation public func meddino_image_create(
  _ context: OpaquePointer?, _ copied: UnsafePointer<meddino_volume>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    out.pointee = handle(try Image(copying: try volume(copied, "copied", .input), context: context))
  }
}

@c @implementation public func meddino_image_view(_ image: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_volume>?) -> meddino_status {
  guarded { () throws(MedDINOError) in
    try checkOutput(out, "out")
    try write(describe(try object(image, "image", Image.self).volume), to: out, "out")
  }
}

@c @implementation public func meddino_image_write(_ image: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> meddino_status {
  guarded { () throws(MedDINOError) in
    try object(image, "image", Image.self).write(to: try text(path, "path"))
  }
}

@c @implementation public func meddino_image_write_with(
  _ image: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<meddino_file_options>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    try object(image, "image", Image.self).write(to: try text(path, "path"), control: try fileControl(options))
  }
}

@c @implementation public func meddino_image_release(_ image: OpaquePointer?) { release(image, Image.self) }
