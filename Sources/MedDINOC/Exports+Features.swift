public import CMedDINO
internal import Imaging
internal import MedDINO
internal import Platform
internal import Tensors

// include/meddino.h, section 7.

private func defaultFeatureOptions() -> meddino_feature_options {
  var o = meddino_feature_options()
  o.apply_norm = 1
  return o
}

@c @implementation public func meddino_feature_options_init(_ options: UnsafeMutablePointer<meddino_feature_options>?, _ size: Int) {
  initialize(options, size, defaultFeatureOptions())
}

private func featureOptions(_ pointer: UnsafePointer<meddino_feature_options>?) throws(MedDINOError) -> FeatureOptions {
  var result = FeatureOptions()
  guard let pointer else { return result }
  let o = try read(pointer, "options", defaults: defaultFeatureOptions())
  guard (0...8).contains(o.block_count) else { throw .invalid("options.block_count is \(o.block_count), expected 0 to 8") }
  let b = o.blocks
  result.blocks = [b.0, b.1, b.2, b.3, b.4, b.5, b.6, b.7].prefix(Int(o.block_count)).map { Int($0) }
  result.appliesNorm = o.apply_norm != 0
  if o.input_size.0 != 0 || o.input_size.1 != 0 { result.inputSize = (Int(o.input_size.0), Int(o.input_size.1)) }
  if o.slice_begin != 0 || o.slice_end != 0 {
    guard o.slice_begin >= 0, o.slice_begin < o.slice_end else {
      throw .invalid("options.slice_begin is \(o.slice_begin) and slice_end \(o.slice_end), expected 0 <= begin < end")
    }
    result.slices = Int(o.slice_begin)..<Int(o.slice_end)
  }
  return result
}

@c @implementation public func meddino_features_create(
  _ model: OpaquePointer?, _ input: UnsafePointer<meddino_volume>?, _ options: UnsafePointer<meddino_feature_options>?,
  _ run: UnsafePointer<meddino_run_options>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let model = try object(model, "model", ModelHandle.self).model
    let source = try volume(input, "in", .input)
    let parsed = try ParsedRun(run)
    let space = try read(input, "in", defaults: defaultVolume()).space
    let features = try Features(
      model, source, options: try featureOptions(options), precision: parsed.options.precision, maxBytes: parsed.options.maxBytes,
      control: parsed.control())
    out.pointee = handle(FeaturesHandle(features, isRAS: space == Int32(MEDDINO_RAS)))
  }
}

/// Features and the space that the caller's points are in.
final class FeaturesHandle: Sendable {
  let features: Features
  let isRAS: Bool
  init(_ features: Features, isRAS: Bool) {
    self.features = features
    self.isRAS = isRAS
  }
}

@c @implementation public func meddino_features_view(_ features: OpaquePointer?, _ out: UnsafeMutablePointer<meddino_tensor>?)
  -> meddino_status
{
  guarded { () throws(MedDINOError) in
    let tensor = try object(features, "features", FeaturesHandle.self).features.tokens
    var view = meddino_tensor()
    view.dtype = Int32(MEDDINO_F32)
    view.ndim = 5
    let s = tensor.shape.extents.map { Int64($0) }
    view.shape = (s[0], s[1], s[2], s[3], s[4], 0, 0, 0)
    view.strides = (4 * s[1] * s[2] * s[3] * s[4], 4 * s[2] * s[3] * s[4], 4 * s[3] * s[4], 4 * s[4], 4, 0, 0, 0)
    view.data = UnsafeRawPointer(tensor.pointer)
    view.data_bytes = tensor.byteCount
    try write(view, to: out, "out")
  }
}

@c @implementation public func meddino_features_pca(
  _ features: OpaquePointer?, _ mask: UnsafePointer<meddino_volume>?, _ rgb: UnsafeMutablePointer<meddino_volume>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let features = try object(features, "features", FeaturesHandle.self).features
    let mask = try mask.map { (pointer) throws(MedDINOError) in try volume(pointer, "mask", .input) }
    try features.principalComponents(mask: mask, into: try volume(rgb, "rgb", .output))
  }
}

@c @implementation public func meddino_features_similarity(
  _ features: OpaquePointer?, _ points: UnsafePointer<Double>?, _ count: Int, _ cosine: UnsafeMutablePointer<meddino_volume>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let handle = try object(features, "features", FeaturesHandle.self)
    let points = try required(points, "points_mm")
    guard (1...1 << 20).contains(count) else { throw .invalid("count is \(count), expected 1 to 1048576") }
    let sign: Double = handle.isRAS ? -1 : 1
    let list = (0..<count).map { [sign * points[3 * $0], sign * points[3 * $0 + 1], points[3 * $0 + 2]] }
    try handle.features.similarity(to: list, into: try volume(cosine, "cosine", .output))
  }
}

@c @implementation public func meddino_features_release(_ features: OpaquePointer?) { release(features, FeaturesHandle.self) }
