import Platform
import Tensors
import TestSupport
@testable import Networks

/// Small networks with seeded parameters for tests of gradients. float32 RoPE: the rounded one is not continuous.
enum Toy {
  static func encoder() -> EncoderConfiguration {
    var c = EncoderConfiguration()
    (c.embedDim, c.depth, c.heads, c.hiddenDim, c.patchSize) = (16, 3, 2, 32, 4)
    (c.storageTokens, c.layerScale, c.dropPathRate, c.ropePrecision) = (2, 0.5, 0.5, .float32)
    return c
  }
  static func gated() -> EncoderConfiguration {
    var c = encoder()
    (c.feedForward, c.hiddenDim, c.normalization, c.layerScale, c.storageTokens) = (.swiGLU(alignment: 8), 24, .rmsNorm, nil, 0)
    (c.qkvBias, c.inputChannels) = (true, 1)
    return c
  }
  static func untied() -> EncoderConfiguration {
    var c = encoder()
    (c.untieClassAndPatchNorms, c.untieGlobalAndLocalClassNorm, c.qkvBias, c.maskKeyBias, c.projectionBias) = (
      true, true, true, false, false
    )
    (c.ropeShift, c.ropeJitter, c.ropeRescale) = (0.2, 1.3, 1.5)
    return c
  }
  static func primus(_ encoder: EncoderConfiguration = encoder(), taps: [Int] = [0, 2]) -> Primus.Configuration {
    .init(encoder: encoder, taps: taps, classes: 3)
  }

  /// Values of a size that keeps every layer away from its linear range.
  static func parameters(_ specs: [ParameterSpec], seed: UInt64 = 1, in budget: MemoryBudget = MemoryBudget()) throws -> ParameterTable {
    var (generator, table) = (SeededGenerator(seed), ParameterTable())
    for spec in specs where !spec.isBuffer {
      let isGain = spec.name.contains("norm") && spec.name.hasSuffix("weight") || spec.name.hasSuffix("gamma")
      let values = generator.floats(spec.shape.count, in: isGain ? 0.6...1.4 : -0.4...0.4)
      table.add(spec.name, try Tensor(values, spec.shape, in: budget))
    }
    return table
  }
  static func parameters(_ configuration: Primus.Configuration, seed: UInt64 = 1, in budget: MemoryBudget = MemoryBudget()) throws
    -> ParameterTable
  {
    let encoder = configuration.encoder.parameters.map { ParameterSpec("dino_encoder." + $0.name, $0.shape, isBuffer: $0.isBuffer) }
    return try parameters(configuration.decoder.parameters + encoder, seed: seed, in: budget)
  }
  static func tensor(_ shape: Shape, seed: UInt64, in budget: MemoryBudget = MemoryBudget()) throws -> Tensor {
    var generator = SeededGenerator(seed)
    return try Tensor(generator.floats(shape.count), shape, in: budget)
  }
  static func device(threads: Int = 2, limit: Int? = nil) throws -> CPUDevice {
    try CPUDevice(pool: ThreadPool(threads: threads), budget: MemoryBudget(limit: limit))
  }
}

/// Σ values · weights in double precision.
func dot(_ values: Tensor, _ weights: Tensor) -> Double {
  zip(values.floatArray(), weights.floatArray()).reduce(0) { $0 + Double($1.0) * Double($1.1) }
}
