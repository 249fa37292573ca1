internal import Networks
public import Platform
internal import Tensors

/// Decoder-only training: the encoder's features are rounded to bfloat16, kept on disk or not.
extension FineTuner {
  /// The normalised taps of each image, rounded to bfloat16.
  ///
  /// Rounded also without a cache, and computed image by image, so that a run with a cache has the bits of one without.
  /// Shapes: images [batch, channels, H, W]; each result [batch, prefix + patches, dim]. Throws: `.outOfMemory`, `.cancelled`, `.io`.
  func roundedFeatures(_ images: Tensor) throws(MedDINOError) -> [Tensor] {
    let encoder = network.encoder.configuration
    let grid = network.encoder.grid(height: images.shape[2], width: images.shape[3])
    let (batch, tokens) = (images.shape[0], encoder.prefixTokens + grid.rows * grid.columns)
    var taps: [Tensor] = []
    for _ in network.configuration.taps { taps.append(try tape.tensor([batch, tokens, encoder.embedDim], "features")) }
    let control = tape.control
    defer { tape.control = control }
    for image in 0..<batch {
      tape.control = control.part(Self.share * Double(image) / Double(batch), Self.share * Double(image + 1) / Double(batch))
      try fill(taps.map { $0.rows(image..<image + 1) }, images.rows(image..<image + 1))
    }
    return taps
  }
  /// Of an update with features that are not kept yet.
  private static let share = 0.7

  private func fill(_ taps: [Tensor], _ image: Tensor) throws(MedDINOError) {
    let size = taps.reduce(0) { $0 + $1.count }
    guard let cache = featureCache, cache.valueCount == size else { return try compute(taps, image) }
    let key = FeatureCache.key(UnsafeRawBufferPointer(image.bytes))
    let packed = try Tensor([size], .bfloat16, in: device.budget, "kept features")
    let values = packed.elements(UInt16.self)
    if try cache.read(key, into: values) {
      transfer(taps) { tap, at in for index in 0..<tap.count { tap[index] = floatFromBFloat16(values[at + index]) } }
    } else {
      try compute(taps, image)
      transfer(taps) { tap, at in for index in 0..<tap.count { values[at + index] = bfloat16Bits(tap[index]) } }
      try cache.write(key, UnsafeBufferPointer(values))
    }
    withExtendedLifetime((packed, image)) {}
  }

  private func compute(_ taps: [Tensor], _ image: Tensor) throws(MedDINOError) {
    let features = try network.features(image, on: tape)
    for (tap, feature) in zip(taps, features) {
      let (out, values) = (tap.floats, feature.floats)
      for index in 0..<out.count { out[index] = roundedToBFloat16(values[index]) }
      withExtendedLifetime((tap, feature)) {}
    }
  }

  /// Each tap's values with their place in the packed ones.
  private func transfer(_ taps: [Tensor], _ body: (UnsafeMutableBufferPointer<Float>, Int) -> Void) {
    var place = 0
    for tap in taps {
      body(tap.floats, place)
      place += tap.count
      withExtendedLifetime(tap) {}
    }
  }
}

extension FineTuner {
  /// Keeps encoder features in a file from now on, as large as the settings allow.
  ///
  /// Throws: `.invalid` for settings without a feature cache or when not one image fits, `.state` while another run uses the file, `.io`.
  public func keepFeatures(in path: String, patch: [Int]) throws(MedDINOError) {
    guard settings.featureCacheBytes > 0 else { throw .invalid("feature_cache is 0, expected the bytes that may be kept") }
    let encoder = network.encoder.configuration
    let grid = network.encoder.grid(height: patch[0], width: patch[1])
    let tokens = encoder.prefixTokens + grid.rows * grid.columns
    let values = try Checked.product([network.configuration.taps.count, tokens, encoder.embedDim], "features")
    var hash = SHA256()
    for entry in try network.encoder.exported().tensors.sorted(by: { $0.key < $1.key }) {
      withExtendedLifetime(entry.value) { hash.update(UnsafeRawBufferPointer(entry.value.bytes)) }
    }
    let weights = hash.finish().map { String($0, radix: 16) }.joined(separator: ".")
    featureCache = try FeatureCache(
      path, valueCount: values, limit: settings.featureCacheBytes,
      identity: "\(encoder.json.text()) \(network.configuration.taps) \(patch) \(settings.precision.rawValue) \(device.name) \(weights)")
  }
}
