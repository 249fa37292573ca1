import Glibc
import Platform
import TestSupport
import Testing

@testable import Tensors

/// Speed of the training operations at the shapes of a ViT-B with 896² images; prints, asserts nothing. Run it with MEDDINO_BENCH set.
@Suite(.enabled(if: environment("MEDDINO_BENCH") != nil), .serialized) struct TrainingBenchmark {
  private let device: CPUDevice
  init() throws {
    device = try CPUDevice(
      pool: ThreadPool(), budget: MemoryBudget(), instructionSet: environment("MEDDINO_SIMD").map { try .named($0) } ?? .best)
  }

  private func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
  }

  /// `work` in GFLOP; prints GFLOP per second of the clock and of processor time.
  private func measure(_ name: String, _ work: Double, _ body: () throws -> Void) rethrows {
    try body()  // memory is touched for the first time
    var best = (wall: Double.infinity, processor: Double.infinity)
    for _ in 0..<2 {
      let start = (seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID))
      try body()
      best = (min(best.wall, seconds(CLOCK_MONOTONIC) - start.0), min(best.processor, seconds(CLOCK_PROCESS_CPUTIME_ID) - start.1))
    }
    let text = { (time: Double) in DecimalText.fixed(work / time, digits: 1) }
    print("\(device.name) \(name): \(text(best.wall)) GFLOP/s, \(text(best.processor)) a processor")
  }

  @Test(arguments: [Precision.float32, .bfloat16]) func linear(precision: Precision) throws {
    let (rows, inputs, outputs) = (3141, 768, 3072)
    var random = SeededGenerator(1)
    let (x, w) = (try random.tensor([rows, inputs], on: device), try random.tensor([outputs, inputs], on: device))
    let (y, dx, dw) = (try device.zeros([rows, outputs]), try device.zeros([rows, inputs]), try device.zeros([outputs, inputs]))
    let work = 2 * Double(rows * inputs * outputs) * 1e-9
    try measure("linear \(precision)", work) { try device.linear(x, weight: w, bias: nil, precision: precision, into: y) }
    try measure("linear backward \(precision)", 2 * work) {
      try device.linearBackward(y, input: x, weight: w, precision: precision, into: LinearGradients(input: dx, weight: dw))
    }
  }

  @Test(arguments: [Precision.float32, .bfloat16]) func attention(precision: Precision) throws {
    let (tokens, dim) = (3141, 768)
    var random = SeededGenerator(2)
    let qkv = try random.tensor([1, tokens, 3 * dim], on: device)
    let (out, sums, slope) = (
      try device.zeros([1, tokens, dim]), try device.zeros([1, 12, tokens]), try device.zeros([1, tokens, 3 * dim])
    )
    let workspace = Workspace(device.budget)
    let work = 4 * Double(tokens * tokens * dim) * 1e-9
    try measure("attention \(precision)", work) {
      try device.attention(
        qkv, heads: 12, prefixTokens: 5, rope: nil, precision: precision, into: out, logSumExp: sums, workspace: workspace,
        control: RunControl())
    }
    try measure("attention backward \(precision)", 2.5 * work) {
      try device.attentionBackward(
        out, qkv: qkv, output: out, logSumExp: sums, heads: 12, prefixTokens: 5, rope: nil, precision: precision, into: slope,
        workspace: workspace, control: RunControl())
    }
  }

  /// A part of the image, two groups of tokens.
  @Test(arguments: [Precision.float32, .bfloat16]) func decoder(precision: Precision) throws {
    let (rows, columns, dim, classes) = (16, 56, 768, 16)
    var random = SeededGenerator(3)
    let taps = try (0..<4).map { _ in try random.tensor([1, rows * columns, dim], on: device) }
    func weights(_ make: (Shape) throws -> Tensor) rethrows -> DecoderWeights {
      let stages = try (0..<4).map { stage in
        let outputs = 1536 >> stage
        return DecoderWeights.Stage(
          weight: try make([2 * outputs, outputs, 2, 2]), bias: try make([outputs]), normWeight: try make([outputs]),
          normBias: try make([outputs]))
      }
      return DecoderWeights(stages: stages, headWeight: try make([classes, 96 * 2, 1, 1]), headBias: try make([classes]))
    }
    let plain = try weights { try device.zeros($0) }
    for stage in plain.stages {
      device.fill(stage.weight, 0.01)
      device.fill(stage.normWeight, 1)
    }
    let gradients = try weights { try device.zeros($0) }
    let tapGradients = try taps.map { try device.zeros($0.shape) }
    let logits = try device.zeros([1, classes, rows * 16, columns * 16])
    let workspace = Workspace(device.budget)
    let perToken = 4 * 2 * 3072 * 6144 + 256 * 2 * 192 * classes
    let work = Double(rows * columns * perToken) * 1e-9
    try measure("decoder \(precision)", work) {
      try device.decode(
        taps, prefixTokens: 0, rows: rows, columns: columns, weights: plain, precision: precision, into: logits, keeping: [],
        workspace: workspace,
        control: RunControl())
    }
    try measure("decoder backward, with the forward computed again, \(precision)", 3 * work) {
      try device.decodeBackward(
        logits, taps: taps, prefixTokens: 0, rows: rows, columns: columns, weights: plain, precision: precision,
        kept: [], tapGradients: tapGradients, gradients: gradients, workspace: workspace, control: RunControl())
    }
  }
}
