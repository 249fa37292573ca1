/// What sets the update of one parameter apart from the run's common values.
public struct ParameterRule: Hashable, Sendable {
  /// Multiplies the step's common learning rate: a multiplier where that is a rate, a rate where that is a factor.
  public var learningRate: Double
  /// Multiplies the step's common weight decay.
  public var weightDecay: Double
  /// The step's rate for last layers is used instead of the common one.
  public var isLastLayer: Bool
  /// Gradients of one group are clipped together.
  public var clipGroup: String

  public init(learningRate: Double = 1, weightDecay: Double = 1, isLastLayer: Bool = false, clipGroup: String = "all") {
    self.learningRate = learningRate
    self.weightDecay = weightDecay
    self.isLastLayer = isLastLayer
    self.clipGroup = clipGroup
  }
}

/// Rules of self-supervised pretraining: layer-wise decay of the backbone's rates, no decay of biases and norms.
///
/// Source: model specification 9. Names are relative to the sub-module, and the sub-modules are clipped apart (6, item 4).
public struct SelfSupervisedRules: Equatable, Sendable {
  /// Blocks of the encoder.
  public var depth: Int
  /// Rate of a layer divided by that of the layer above it.
  public var layerDecay: Double
  /// A further factor on the rate of the patch embedding.
  public var patchEmbedFactor: Double
  /// The sub-module whose rates decay by layer.
  public static let backbone = "backbone"

  public init(depth: Int, layerDecay: Double = 0.9, patchEmbedFactor: Double = 0.2) {
    self.depth = depth
    self.layerDecay = layerDecay
    self.patchEmbedFactor = patchEmbedFactor
  }

  public func rule(submodule: String, name: String) -> ParameterRule {
    let isPlain = name.hasSuffix("bias") || name.contains("norm") || name.contains("gamma")
    let rate = submodule == Self.backbone ? LayerDecay(depth: depth, factor: layerDecay).rate(name, patchEmbedFactor: patchEmbedFactor) : 1
    return ParameterRule(
      learningRate: rate, weightDecay: isPlain ? 0 : 1, isLastLayer: name.contains("last_layer"), clipGroup: submodule)
  }

  /// Of a name whose first part is the sub-module, such as `backbone.cls_token`.
  public func rule(_ qualified: String) -> ParameterRule {
    let parts = qualified.split(separator: ".", maxSplits: 1)
    return parts.count == 2 ? rule(submodule: String(parts[0]), name: String(parts[1])) : rule(submodule: "", name: qualified)
  }
}

/// Rates that shrink from the top of an encoder to its input. Source: model specification 9.
public struct LayerDecay: Equatable, Sendable {
  public var depth: Int
  public var factor: Double
  public init(depth: Int, factor: Double) {
    self.depth = depth
    self.factor = factor
  }

  /// 0 for tokens and the patch embedding, i + 1 for block i, depth + 1 for the rest. `name` is relative to the encoder.
  public func layer(_ name: String) -> Int {
    let input = ["pos_embed", "patch_embed", "mask_token", "cls_token", "storage_tokens"]
    if input.contains(where: { name.contains($0) }) { return 0 }
    let parts = name.split(separator: ".")
    if let place = parts.firstIndex(of: "blocks"), place + 1 < parts.count, let block = Int(parts[place + 1]), block >= 0 {
      return min(block, depth) + 1
    }
    return depth + 1
  }

  public func rate(_ name: String, patchEmbedFactor: Double = 1) -> Double {
    let exponent = depth + 1 - layer(name)
    let rate = (0..<max(exponent, 0)).reduce(1) { product, _ in product * factor }
    return name.contains("patch_embed") ? rate * patchEmbedFactor : rate
  }
}

/// Rules of fine-tuning: two groups, decoder and encoder, every parameter decays.
///
/// Source: model specification 4.2, pipeline specification 9. The step's common learning rate is the schedule's factor, its common weight decay 1.
public struct FineTuningRules: Equatable, Sendable {
  public var decoderRate: Double
  public var encoderRate: Double
  public var weightDecay: Double
  /// Not official: rates of the encoder shrink towards its input.
  public var layerDecay: LayerDecay?
  /// A parameter whose name contains it belongs to the encoder.
  public static let encoder = "dino_encoder"

  public init(decoderRate: Double = 3e-4, encoderRate: Double = 3e-5, weightDecay: Double = 0.05, layerDecay: LayerDecay? = nil) {
    self.decoderRate = decoderRate
    self.encoderRate = encoderRate
    self.weightDecay = weightDecay
    self.layerDecay = layerDecay
  }

  public func rule(_ name: String) -> ParameterRule {
    guard name.contains(Self.encoder) else { return ParameterRule(learningRate: decoderRate, weightDecay: weightDecay) }
    return ParameterRule(learningRate: encoderRate * (layerDecay?.rate(name) ?? 1), weightDecay: weightDecay)
  }
}
