public import CMedDINO
internal import Imaging
internal import MedDINO
internal import Platform

// include/meddino.h, section 10: slices to pretrain on.

@c @implementation public func meddino_slice_options_init(_ options: UnsafeMutablePointer<meddino_slice_options>?, _ size: Int) {
  initialize(options, size, meddino_slice_options())
}

private func parsed(_ pointer: UnsafePointer<meddino_slice_options>?) throws(MedDINOError) -> meddino_slice_options {
  guard let pointer else { return meddino_slice_options() }
  let o = try read(pointer, "options", defaults: meddino_slice_options())
  for (name, value) in [("skip_damaged", o.skip_damaged), ("concurrent", o.concurrent)] where value != 0 && value != 1 {
    throw .invalid("options.\(name) is \(value), expected 0 or 1")
  }
  return o
}

@c @implementation public func meddino_dataset_open_slices(
  _ context: OpaquePointer?, _ folder: UnsafePointer<CChar>?, _ options: UnsafePointer<meddino_slice_options>?,
  _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let o = try parsed(options)
    guard o.concurrent == 0, o.spacing == 0, o.done == nil else {
      throw .invalid("options.concurrent, spacing or done is set, expected 0 and NULL: a slice set has its own")
    }
    let set = try PretrainingDataset(set: try text(folder, "folder"), skipsDamaged: o.skip_damaged == 1, context: context)
    out.pointee = handle(DatasetHandle(set))
  }
}

@c @implementation public func meddino_dataset_from_slices(
  _ context: OpaquePointer?, _ count: Int64, _ next: meddino_slice_fn?, _ user: UnsafeMutableRawPointer?,
  _ options: UnsafePointer<meddino_slice_options>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let next = try required(next, "next")
    let o = try parsed(options)
    let host = SliceHost(next: next, user: user, done: o.done)
    guard (1...1 << 40).contains(count) else { throw .invalid("count is \(count), expected 1 to \(1 << 40)") }
    guard o.skip_damaged == 0 else { throw .invalid("options.skip_damaged is 1, expected 0: it has an effect only on a slice set") }
    let dataset = try PretrainingDataset(
      count: Int(count), spacing: o.spacing == 0 ? nil : o.spacing, isConcurrent: o.concurrent == 1, context: context
    ) { (index, use) throws(MedDINOError) in try host.hand(index, use) }
    out.pointee = handle(DatasetHandle(dataset))
  }
}

/// A host's callbacks, which it keeps valid as long as the dataset and its trainers live.
private struct SliceHost: @unchecked Sendable {
  let next: meddino_slice_fn
  let user: UnsafeMutableRawPointer?
  let done: meddino_slice_done_fn?

  /// Throws: `.cancelled` when the callback stops, what is wrong with its slice, and what `use` throws.
  func hand(_ index: Int, _ use: (Volume) throws(MedDINOError) -> Void) throws(MedDINOError) {
    var slice = defaultVolume()
    slice.dims = (0, 0, 1)
    slice.struct_size = MemoryLayout<meddino_volume>.size
    guard next(user, Int64(index), &slice) == 0 else { throw .cancelled }
    defer { done?(user, Int64(index)) }
    try use(try volume(&slice, "slice \(index)", .input))
  }
}
