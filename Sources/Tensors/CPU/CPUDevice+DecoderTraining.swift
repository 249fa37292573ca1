internal import CKernels
public import Platform

extension CPUDevice {
  public func decode(
    _ taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, weights: DecoderWeights, precision: Precision, into logits: Tensor,
    keeping kept: [Tensor], workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    if let first = kept.first, let stage = weights.stages.first {
      try convolveFirst(taps, prefixTokens: prefixTokens, patches: rows * columns, stage, precision, into: first)
    }
    let packed = try packDecoder(weights, taps: taps.count, firstIsDone: !kept.isEmpty, precision)
    try decode(
      taps, prefixTokens: prefixTokens, rows: rows, columns: columns, packed, into: logits, keeping: kept, workspace: workspace,
      control: control, progress: 0...1)
  }

  public func decodeBackward(
    _ logitsGradient: Tensor, taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, weights: DecoderWeights, precision: Precision,
    kept: [Tensor], tapGradients: [Tensor]?, gradients: DecoderWeights?, workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    guard let first = taps.first, rows * columns > 0 else { return }
    let (batch, perImage, dim) = (first.shape[0], first.shape[1], first.shape[2])
    let run = try DecoderBackward(
      self, weights, taps: taps.count, patches: rows * columns, precision,
      gradients: gradients, kept: kept.count, workspace)
    defer { run.turnBack() }
    let grid = DecoderRun.Grid(rows: rows, columns: columns, patch: 1 << weights.stages.count)
    for image in 0..<batch {
      let start = image * perImage * dim
      let inputs = taps.compactMap { Matrix($0, columns: dim)?.advanced(row: image * perImage + prefixTokens) }
      var outputs: [UnsafeMutablePointer<Float>] = []
      for tap in tapGradients ?? [] {
        guard let base = tap.floats.baseAddress else { continue }
        kernels.fill(base + start, 0, Int64(prefixTokens * dim))
        outputs.append(base + start + prefixTokens * dim)
      }
      guard let planes = logitsGradient.floats.baseAddress.map({ $0 + image * (logitsGradient.count / batch) }) else { continue }
      let maps = DecoderRun.images(kept, image, of: batch)
      var token = 0
      while token < rows * columns {
        try control.check()
        let count = min(DecoderRun.groupTokens, rows * columns - token)
        try run.group(inputs, token..<token + count, grid, planes, maps)
        token += count
      }
      try run.firstStage(inputs, patches: rows * columns, maps, outputs)
    }
    if let gradients { run.addSums(to: gradients) }
    withExtendedLifetime((logitsGradient, taps, weights, kept, tapGradients, gradients)) {}
  }

  /// The first convolution of all tokens, tap by tap, so that one part of the largest weight is packed at a time.
  private func convolveFirst(
    _ taps: [Tensor], prefixTokens: Int, patches: Int, _ stage: DecoderWeights.Stage, _ precision: Precision, into kept: Tensor
  ) throws(MedDINOError) {
    let (batch, n) = (taps.first?.shape[0] ?? 0, 4 * stage.weight.shape[1])
    let bias = try DecoderStageWeight.repeatedBias(stage.bias, budget)
    for (index, rows) in DecoderStageWeight.parts(stage, taps.count).enumerated() {
      let turned = try DecoderStageWeight(self, stage, rows)
      guard let matrix = turned.matrix else { continue }
      let packed = try panels(matrix, columns: n, depth: rows.count, turned: true, precision)
      for image in 0..<batch {
        guard let source = Matrix(taps[index], columns: rows.count)?.advanced(row: image * (prefixTokens + patches) + prefixTokens),
          let target = kept.floats.baseAddress
        else { continue }
        try multiply(
          source, rows: patches, packed, bias: index == taps.count - 1 ? bias.floats.baseAddress.map { UnsafePointer($0) } : nil,
          into: target + image * patches * n, stride: n, adds: index > 0)
      }
      withExtendedLifetime((turned, bias)) {}
    }
  }

  /// The plain weights as the decoder of inference multiplies by them; none for a first stage whose convolution is done.
  private func packDecoder(
    _ weights: DecoderWeights, taps: Int, firstIsDone: Bool, _ precision: Precision
  ) throws(MedDINOError) -> PackedDecoder {
    var stages: [PackedDecoder.Stage] = []
    for (index, stage) in weights.stages.enumerated() {
      let outputs = stage.weight.shape[1]
      var layers: [any PackedLinear] = []
      for rows in DecoderStageWeight.parts(stage, index == 0 ? taps : 1) where index > 0 || !firstIsDone {
        let turned = try DecoderStageWeight(self, stage, rows)
        guard let matrix = turned.matrix else { continue }
        let packed = try panels(matrix, columns: 4 * outputs, depth: turned.inputs, turned: true, precision)
        layers.append(
          CPUPackedLinear(outputs: 4 * outputs, inputs: turned.inputs, precision: precision, weight: packed.buffer, bias: nil))
        withExtendedLifetime(turned) {}
      }
      stages.append(
        PackedDecoder.Stage(
          layers: layers, bias: try DecoderStageWeight.repeatedBias(stage.bias, budget), normWeight: stage.normWeight,
          normBias: stage.normBias,
          outputs: outputs))
    }
    let (classes, last) = (weights.headWeight.shape[0], weights.headWeight.shape[1])
    let head = try pack(weight: weights.headWeight.reshaped([classes, last]), bias: weights.headBias, precision: precision)
    return PackedDecoder(stages: stages, head: head, classes: classes)
  }
}

/// Some input rows of the weight of a 2×2 transposed convolution, [inputs, outputs, 2, 2], as a matrix [inputs, (ky, kx, output)].
struct DecoderStageWeight {
  let inputs, outputs: Int
  private let turned: Tensor
  var matrix: Matrix? { Matrix(turned, columns: 4 * outputs) }

  init(_ device: CPUDevice, _ stage: DecoderWeights.Stage, _ rows: Range<Int>) throws(MedDINOError) {
    inputs = rows.count
    outputs = stage.weight.shape[1]
    turned = try device.scratch.tensor([inputs, 4 * outputs], "decoder weight")
    guard let base = stage.weight.floats.baseAddress, let to = turned.floats.baseAddress else { return }
    let (from, outputs) = (base + rows.lowerBound * 4 * outputs, outputs)
    device.pool.forBlocks(of: inputs, grain: 16) { rows in
      for row in rows {
        let (source, target) = (from + row * 4 * outputs, to + row * 4 * outputs)
        for output in 0..<outputs {
          for quadrant in 0..<4 { target[quadrant * outputs + output] = source[output * 4 + quadrant] }
        }
      }
    }
  }

  /// [inputs, outputs, 2, 2] becomes [inputs, (ky, kx, output)] in place, or back. rows: a row of scratch for every thread.
  static func turn(_ matrix: Tensor, back: Bool, rows: Tensor, _ device: CPUDevice) {
    let (count, n) = (matrix.shape[0], matrix.shape[1])
    let outputs = n / 4
    guard let base = matrix.floats.baseAddress, let scratch = rows.floats.baseAddress else { return }
    let width = rows.shape[1]
    device.forEachLane(count) { lane, index in
      let (row, copy) = (base + index * n, scratch + lane * width)
      copy.update(from: row, count: n)
      for output in 0..<outputs {
        for quadrant in 0..<4 {
          let (plain, turned) = (output * 4 + quadrant, quadrant * outputs + output)
          if back { row[plain] = copy[turned] } else { row[turned] = copy[plain] }
        }
      }
    }
  }

  /// The rows of each of `count` taps.
  static func parts(_ stage: DecoderWeights.Stage, _ count: Int) -> [Range<Int>] {
    let width = stage.weight.shape[0] / count
    return (0..<count).map { $0 * width..<($0 + 1) * width }
  }

  static func repeatedBias(_ bias: Tensor, _ budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let outputs = bias.count
    let repeated = try Tensor([4 * outputs], in: budget, "decoder bias")
    let (from, to) = (bias.floats, repeated.floats)
    for i in 0..<4 * outputs { to[i] = from[i % outputs] }
    return repeated
  }
}
