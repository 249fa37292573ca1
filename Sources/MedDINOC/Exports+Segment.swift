public import CMedDINO
internal import Imaging
internal import MedDINO
internal import Platform
internal import Tensors

// include/meddino.h, section 6.

func defaultRunOptions() -> meddino_run_options {
  var o = meddino_run_options()
  o.mirror_axes = Int32(MEDDINO_MIRROR_MODEL)
  return o
}

@c @implementation public func meddino_run_options_init(_ options: UnsafeMutablePointer<meddino_run_options>?, _ size: Int) {
  initialize(options, size, defaultRunOptions())
}

/// The caller's options, checked and copied: the arrays they point to are not needed afterwards.
struct ParsedRun: @unchecked Sendable {
  var options = RunOptions()
  private var raw = defaultRunOptions()
  private var watch = Watch()

  init(_ pointer: UnsafePointer<meddino_run_options>?) throws(MedDINOError) {
    guard let pointer else { return }
    raw = try read(pointer, "options", defaults: raw)
    if raw.tile_step != 0 {
      guard raw.tile_step > 0, raw.tile_step <= 1 else {
        throw .invalid("options.tile_step is \(raw.tile_step), expected a value in (0, 1], or 0")
      }
      options.segmentation.tileStep = raw.tile_step
    }
    guard (-1...3).contains(raw.mirror_axes) else { throw .invalid("options.mirror_axes is \(raw.mirror_axes), expected -1 to 3") }
    if raw.mirror_axes >= 0 { options.mirrorAxes = (0...1).filter { raw.mirror_axes >> $0 & 1 == 1 } }
    options.precision = try precision(raw.precision)
    guard raw.reserved == 0 else { throw .invalid("options.reserved is \(raw.reserved), expected 0") }
    options.segmentation.bodyCrop = raw.body_crop != 0
    if raw.max_bytes > 0 { options.maxBytes = Int(clamping: raw.max_bytes) }
    try readRegion()
    try readSubset()
    watch = try Watch(raw.progress, raw.progress_user, raw.cancel)
  }

  private mutating func readRegion() throws(MedDINOError) {
    let r = raw.roi
    let values = [r.0, r.1, r.2, r.3, r.4, r.5].map { Int($0) }
    if values.allSatisfy({ $0 == 0 }) { return }
    let (lower, upper) = ([values[0], values[2], values[4]], [values[1], values[3], values[5]])
    guard zip(lower, upper).allSatisfy({ $0 >= 0 && $0 < $1 }) else {
      throw .invalid("options.roi is \(values), expected x0 < x1, y0 < y1, z0 < z1, none negative")
    }
    options.segmentation.regionOfInterest = VoxelBox(lower: lower, upper: upper)
  }

  private mutating func readSubset() throws(MedDINOError) {
    guard let subset = raw.label_subset else { return }
    guard (1...65536).contains(raw.label_subset_count) else {
      throw .invalid("options.label_subset_count is \(raw.label_subset_count), expected 1 to 65536")
    }
    options.segmentation.labelSubset = (0..<raw.label_subset_count).map { Int(subset[$0]) }
  }

  /// Progress to the caller (and to the job), cancellation from the caller's handle (and from the job).
  func control(_ job: Job? = nil) -> RunControl { watch.control(job) }
}

/// A MEDDINO_PRECISION_ value of options.
func precision(_ value: Int32) throws(MedDINOError) -> Precision {
  switch Int(value) {
  case Int(MEDDINO_PRECISION_MODEL), Int(MEDDINO_PRECISION_F32): return .float32
  case Int(MEDDINO_PRECISION_BF16): return .bfloat16
  default: throw .invalid("options.precision is \(value), expected a MEDDINO_PRECISION_ value")
  }
}

/// The channels of a case. Throws: `.invalid`, `.shape`, `.unsupported` naming the view.
func inputs(_ channels: UnsafePointer<UnsafePointer<meddino_volume>?>?, _ count: Int) throws(MedDINOError) -> [Volume] {
  let channels = try required(channels, "channels")
  guard (1...1024).contains(count) else { throw .invalid("count is \(count), expected 1 to 1024") }
  var list: [Volume] = []
  for index in 0..<count { list.append(try volume(channels[index], "channels[\(index)]", .input)) }
  return list
}

@c @implementation public func meddino_estimate_run(
  _ model: OpaquePointer?, _ input: UnsafePointer<meddino_volume>?, _ options: UnsafePointer<meddino_run_options>?,
  _ out: UnsafeMutablePointer<meddino_estimate>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let model = try object(model, "model", ModelHandle.self).model
    try checkOutput(out, "out")
    var v = try read(input, "in", defaults: defaultVolume())
    // Extents alone count: a volume without a buffer may be asked about.
    withUnsafeMutablePointer(to: &v) { pointer in
      if pointer.pointee.data == nil, pointer.pointee.writable == nil {
        pointer.pointee.data = UnsafeRawPointer(pointer)
        pointer.pointee.data_bytes = Int(Int.max)
      }
    }
    v.struct_size = MemoryLayout<meddino_volume>.size
    let geometry = try volume(&v, "in", .input).geometry
    let run = try ParsedRun(options)
    let estimate = try model.estimate(geometry, options: run.options)
    var result = meddino_estimate()
    result.peak_bytes = UInt64(estimate.peakBytes)
    result.tiles = Int64(estimate.forwards)
    result.flops = estimate.flops
    try write(result, to: out, "out")
  }
}

@c @implementation public func meddino_segment(
  _ model: OpaquePointer?, _ channels: UnsafePointer<UnsafePointer<meddino_volume>?>?, _ count: Int,
  _ options: UnsafePointer<meddino_run_options>?, _ labels: UnsafeMutablePointer<meddino_volume>?,
  _ probabilities: UnsafeMutablePointer<meddino_volume>?, _ report: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  report?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let model = try object(model, "model", ModelHandle.self).model
    let inputs = try inputs(channels, count)
    let target = try volume(labels, "labels", .output)
    let scores = try probabilities.map { (pointer) throws(MedDINOError) in try volume(pointer, "probabilities", .output) }
    let run = try ParsedRun(options)
    let found = try model.segment(inputs, labels: target, probabilities: scores, options: run.options, control: run.control())
    report?.pointee = handle(Report(found))
  }
}

@c @implementation public func meddino_segment_async(
  _ model: OpaquePointer?, _ channels: UnsafePointer<UnsafePointer<meddino_volume>?>?, _ count: Int,
  _ options: UnsafePointer<meddino_run_options>?, _ labels: UnsafeMutablePointer<meddino_volume>?,
  _ probabilities: UnsafeMutablePointer<meddino_volume>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let model = try object(model, "model", ModelHandle.self).model
    let inputs = try inputs(channels, count)
    let target = try volume(labels, "labels", .output)
    let scores = try probabilities.map { (pointer) throws(MedDINOError) in try volume(pointer, "probabilities", .output) }
    let run = try ParsedRun(options)
    try model.check(inputs, labels: target, probabilities: scores, options: run.options)
    let job = Job()
    try job.start { (job) throws(MedDINOError) in
      Report(try model.segment(inputs, labels: target, probabilities: scores, options: run.options, control: run.control(job)))
    }
    out.pointee = handle(job)
  }
}

@c @implementation public func meddino_segment_image(
  _ model: OpaquePointer?, _ image: OpaquePointer?, _ options: UnsafePointer<meddino_run_options>?,
  _ labels: UnsafeMutablePointer<OpaquePointer?>?, _ report: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  labels?.pointee = nil
  report?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let labels = try required(labels, "labels")
    let model = try object(model, "model", ModelHandle.self).model
    let image = try object(image, "image", Image.self)
    let run = try ParsedRun(options)
    let (target, found) = try model.segment(image, options: run.options, control: run.control())
    labels.pointee = handle(target)
    report?.pointee = handle(Report(found))
  }
}
