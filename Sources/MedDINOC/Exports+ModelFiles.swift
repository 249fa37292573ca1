public import CMedDINO
internal import MedDINO
internal import Platform
internal import Tensors

// include/meddino.h, sections 2 and 4: work on whole files that a host may watch and stop.

@c @implementation public func meddino_file_options_init(_ options: UnsafeMutablePointer<meddino_file_options>?, _ size: Int) {
  initialize(options, size, meddino_file_options())
}

@c @implementation public func meddino_save_options_init(_ options: UnsafeMutablePointer<meddino_save_options>?, _ size: Int) {
  initialize(options, size, meddino_save_options())
}

/// The caller's wishes as a control; NULL means none.
func fileControl(_ pointer: UnsafePointer<meddino_file_options>?) throws(MedDINOError) -> RunControl {
  guard let pointer else { return RunControl() }
  let o = try read(pointer, "options", defaults: meddino_file_options())
  return try Watch(o.progress, o.progress_user, o.cancel).control()
}

@c @implementation public func meddino_model_save(_ model: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> meddino_status {
  guarded { () throws(MedDINOError) in
    try object(model, "model", ModelHandle.self).model.save(to: try text(path, "path"))
  }
}

@c @implementation public func meddino_model_save_with(
  _ model: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<meddino_save_options>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let model = try object(model, "model", ModelHandle.self).model
    let path = try text(path, "path")
    var o = meddino_save_options()
    if let options { o = try read(options, "options", defaults: o) }
    guard o.reserved == 0 else { throw .invalid("options.reserved is \(o.reserved), expected 0") }
    try model.save(to: path, precision: try precision(o.precision), control: try Watch(o.progress, o.progress_user, o.cancel).control())
  }
}

@c @implementation public func meddino_model_verify(_ model: OpaquePointer?, _ options: UnsafePointer<meddino_file_options>?)
  -> meddino_status
{
  guarded { () throws(MedDINOError) in
    try object(model, "model", ModelHandle.self).model.verify(control: try fileControl(options))
  }
}
