public import Imaging
public import Platform
public import Tensors

/// The transforms of a training sample in their order, with their probabilities and ranges. The defaults are the official ones.
///
/// Source: pipeline specification 7.
public struct Augmentation: Equatable, Sendable {
  public var spatial = SpatialTransform()
  public var noise = GaussianNoise()
  public var blur = GaussianBlur()
  public var brightness = Brightness()
  public var contrast = Contrast()
  public var lowResolution = LowResolution()
  public var invertedGamma = Gamma(chance: 0.1, inverts: true)
  public var gamma = Gamma(chance: 0.3, inverts: false)
  public var mirror = Mirror()
  /// Where a channel is normalised inside a mask, its outside is set to 0. Officially (false) that of every channel as soon as one has a
  /// mask; true leaves the channels without a mask alone.
  public var masksOnlyMaskedChannels = false

  public init() {}
  public static let official = Augmentation()
  /// Nothing random: the middle of what the loader cuts.
  public static var none: Augmentation {
    var result = Augmentation()
    result.spatial.rotationChance = 0
    result.spatial.scalingChance = 0
    result.noise.chance = 0
    result.blur.chance = 0
    result.brightness.chance = 0
    result.contrast.chance = 0
    result.lowResolution.chance = 0
    result.invertedGamma.chance = 0
    result.gamma.chance = 0
    result.mirror.chance = 0
    return result
  }

  /// Whether nothing is ever changed.
  public var isNone: Bool {
    let chances = [
      spatial.rotationChance, spatial.scalingChance, noise.chance, blur.chance, brightness.chance, contrast.chance, lowResolution.chance,
      invertedGamma.chance, gamma.chance, mirror.chance,
    ]
    return chances.allSatisfy { $0 == 0 }
  }

  /// Throws: `.invalid` naming the option that is out of range.
  public func validate() throws(MedDINOError) {
    try spatial.validate()
    try noise.validate()
    try blur.validate()
    try brightness.validate()
    try contrast.validate()
    try lowResolution.validate()
    try invertedGamma.validate()
    try gamma.validate()
    try mirror.validate()
  }

  /// What happens to one sample; nil: that transform does not happen.
  public struct Parameters: Sendable {
    public var spatial: SpatialTransform.Parameters?
    public var noise: GaussianNoise.Parameters?
    public var blur: GaussianBlur.Parameters?
    public var brightness: Brightness.Parameters?
    public var contrast: Contrast.Parameters?
    public var lowResolution: LowResolution.Parameters?
    public var invertedGamma: Gamma.Parameters?
    public var gamma: Gamma.Parameters?
    public var mirror: Mirror.Parameters?
    public init() {}
  }

  /// A pure function of (seed, step, item). Every transform has numbers of its own: turning one off leaves the others as they are.
  public func draw(seed: UInt64, step: UInt64, item: Int, channels: Int, patch: [Int]) -> Parameters {
    func numbers(_ purpose: CounterRandom.Purpose) -> CounterRandom {
      CounterRandom(seed: seed, purpose: purpose, step: step, item: UInt64(item))
    }
    func draw<T>(_ purpose: CounterRandom.Purpose, _ body: (inout CounterRandom) -> T) -> T {
      var random = numbers(purpose)
      return body(&random)
    }
    var result = Parameters()
    result.spatial = draw("augmentation: spatial") { spatial.draw(patch: patch, &$0) }
    result.noise = draw("augmentation: noise") { noise.draw(&$0) }
    result.blur = draw("augmentation: blur") { blur.draw(channels: channels, &$0) }
    result.brightness = draw("augmentation: brightness") { brightness.draw(channels: channels, &$0) }
    result.contrast = draw("augmentation: contrast") { contrast.draw(channels: channels, &$0) }
    result.lowResolution = draw("augmentation: low resolution") { lowResolution.draw(channels: channels, &$0) }
    result.invertedGamma = draw("augmentation: inverted gamma") { invertedGamma.draw(channels: channels, &$0) }
    result.gamma = draw("augmentation: gamma") { gamma.draw(channels: channels, &$0) }
    result.mirror = draw("augmentation: mirror") { mirror.draw(&$0) }
    return result
  }

  /// Everything after the spatial transform, in place.
  ///
  /// Shapes: float32 [channels, rows, columns], int16 [1, rows, columns]. Throws: `.shape`, `.outOfMemory`.
  public static func apply(
    _ parameters: Parameters, image: Tensor, labels: Tensor, workspace: Workspace
  ) throws(MedDINOError) {
    if let noise = parameters.noise { try GaussianNoise.apply(noise, to: image, workspace: workspace) }
    if let blur = parameters.blur { try GaussianBlur.apply(blur, to: image, workspace: workspace) }
    if let brightness = parameters.brightness { try Brightness.apply(brightness, to: image) }
    if let contrast = parameters.contrast { try Contrast.apply(contrast, to: image) }
    if let lowResolution = parameters.lowResolution { try LowResolution.apply(lowResolution, to: image, workspace: workspace) }
    if let gamma = parameters.invertedGamma { try Gamma.apply(gamma, to: image) }
    if let gamma = parameters.gamma { try Gamma.apply(gamma, to: image) }
    if let mirror = parameters.mirror { try Mirror.apply(mirror, image: image, labels: labels) }
  }
}
