internal import Imaging
public import Platform
internal import Tensors

/// How pixels are normalised and changed. Source: model specification 5, 7.1, 11.
public struct PixelOptions: Equatable, Sendable {
  public enum Augmentation: String, Sendable, CaseIterable {
    case none
    /// Noise, smoothing, intensity scaling, low resolution and gamma, once per slice, so that all crops share them.
    case ct
    /// Colour jitter, grayscale, blur and solarisation, per crop, on values from 0 to 1: Hounsfield units are mapped there first, from
    /// [−1000, 1000], and back to what the normalisation says afterwards.
    case natural
  }
  public enum Normalization: String, Sendable, CaseIterable {
    case none
    /// Clip to [−1000, 1000] HU, MedDINOv3's mean and deviation.
    case hounsfield
    /// Clip to [−1000, 1000] HU, the slice's own mean and deviation.
    case slice
    /// Mean and deviation per colour, of values from 0 to 1; Hounsfield units are mapped there from [−1000, 1000].
    case rgb
  }
  public var augmentation = Augmentation.ct
  public var normalization = Normalization.hounsfield
  /// Of `rgb`, one per channel.
  public var mean: [Float] = [0.485, 0.456, 0.406]
  public var deviation: [Float] = [0.229, 0.224, 0.225]
  public init() {}

  /// Throws: `.invalid` naming the key.
  public func validate(channels: Int) throws(MedDINOError) {
    guard normalization == .rgb else { return }
    guard mean.count == channels, deviation.count == channels, deviation.allSatisfy({ $0 > 0 }) else {
      throw .invalid(
        "crops.rgb_mean and rgb_std have \(mean.count) and \(deviation.count) values, expected \(channels) and deviations above 0")
    }
  }
}

/// Changes of a whole slice before crops are cut. Source: model specification 11 (the CT pipeline of the same authors).
enum SliceAugmentation {
  /// Noise, smoothing, scaling, low resolution, gamma, in place; each has random numbers of its own. Throws: `.outOfMemory`.
  static func apply(to slice: Tensor, seed: UInt64, step: UInt64, item: UInt64, workspace: Workspace) throws(MedDINOError) {
    func draw<T>(_ purpose: CounterRandom.Purpose, _ body: (inout CounterRandom) -> T) -> T {
      var random = CounterRandom(seed: seed, purpose: purpose, step: step, item: item)
      return body(&random)
    }
    let channels = slice.shape[0]
    var noise = GaussianNoise()
    (noise.chance, noise.deviation) = (0.1, 0...0.1)
    if let drawn = draw("pretraining: noise", { noise.draw(&$0) }) { try GaussianNoise.apply(drawn, to: slice, workspace: workspace) }
    var blur = GaussianBlur()
    (blur.chance, blur.channelChance, blur.deviation) = (0.2, 1, 0.5...1)
    if let drawn = draw("pretraining: smoothing", { blur.draw(channels: channels, &$0) }) {
      try GaussianBlur.apply(drawn, to: slice, workspace: workspace)
    }
    var brightness = Brightness()
    (brightness.chance, brightness.factor) = (0.15, FactorRange(0.75, 1.25))
    if let drawn = draw("pretraining: scaling", { brightness.draw(channels: channels, &$0) }) { try Brightness.apply(drawn, to: slice) }
    var resolution = LowResolution()
    (resolution.chance, resolution.channelChance, resolution.scale, resolution.isApplied) = (0.25, 1, 0.5...1, true)
    if let drawn = draw("pretraining: low resolution", { resolution.draw(channels: channels, &$0) }) {
      try LowResolution.apply(drawn, to: slice, workspace: workspace)
    }
    let exponent = draw("pretraining: gamma") { $0.chance(0.1) ? $0.uniform(0.7...1.5) : nil }
    guard let exponent else { return }
    try Gamma.apply(
      .init(exponents: [Double](repeating: exponent, count: channels), inverts: false, retainsStatistics: false), to: slice)
  }
}
