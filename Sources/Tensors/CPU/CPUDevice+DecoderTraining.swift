internal import CKernels
public import Platform

extension CPUDevice {
  public func decode(
    _ taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, weights: DecoderWeights, precision: Precision, into logits: Tensor,
    workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    let packed = try packDecoder(weights, taps: taps.count, precision)
    try decode(
      taps, prefixTokens: prefixTokens, rows: rows, columns: columns, packed, into: logits, workspace: workspace, control: control,
      progress: 0...1)
  }

  public func decodeBackward(
    _ logitsGradient: Tensor, taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, weights: DecoderWeights, precision: Precision,
    tapGradients: [Tensor]?, gradients: DecoderWeights?, workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    guard let first = taps.first, rows * columns > 0 else { return }
    let (batch, perImage, dim) = (first.shape[0], first.shape[1], first.shape[2])
    let run = try DecoderBackward(
      self, weights, taps: taps.count, patches: rows * columns, precision, needsTaps: tapGradients != nil,
      needsWeights: gradients != nil, workspace)
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
      var token = 0
      while token < rows * columns {
        try control.check()
        let count = min(DecoderRun.groupTokens, rows * columns - token)
        try run.group(inputs, token..<token + count, grid, planes, outputs)
        token += count
      }
    }
    if let gradients { run.addGradients(to: gradients) }
    withExtendedLifetime((logitsGradient, taps, weights, tapGradients, gradients)) {}
  }

  /// The plain weights as the decoder of inference multiplies by them.
  private func packDecoder(_ weights: DecoderWeights, taps: Int, _ precision: Precision) throws(MedDINOError) -> PackedDecoder {
    var stages: [PackedDecoder.Stage] = []
    for (index, stage) in weights.stages.enumerated() {
      let turned = try DecoderStageWeight(self, stage)
      let (inputs, n) = (turned.inputs, 4 * turned.outputs)
      let parts = index == 0 ? taps : 1
      let width = inputs / parts
      var layers: [any PackedLinear] = []
      for part in 0..<parts {
        guard let matrix = turned.matrix?.advanced(row: part * width) else { continue }
        let packed = try panels(matrix, columns: n, depth: width, turned: true, precision)
        layers.append(CPUPackedLinear(outputs: n, inputs: width, precision: precision, weight: packed.buffer, bias: nil))
      }
      stages.append(
        PackedDecoder.Stage(
          layers: layers, bias: try turned.repeatedBias(stage.bias, budget), normWeight: stage.normWeight, normBias: stage.normBias,
          outputs: turned.outputs))
    }
    let (classes, last) = (weights.headWeight.shape[0], weights.headWeight.shape[1])
    let head = try pack(weight: weights.headWeight.reshaped([classes, last]), bias: weights.headBias, precision: precision)
    return PackedDecoder(stages: stages, head: head, classes: classes)
  }
}

/// The weight of a 2×2 transposed convolution, [inputs, outputs, 2, 2], as a matrix [inputs, (ky, kx, output)].
struct DecoderStageWeight {
  let inputs, outputs: Int
  let turned: Tensor
  var matrix: Matrix? { Matrix(turned, columns: 4 * outputs) }

  init(_ device: CPUDevice, _ stage: DecoderWeights.Stage) throws(MedDINOError) {
    inputs = stage.weight.shape[0]
    outputs = stage.weight.shape[1]
    turned = try Tensor([inputs, 4 * outputs], in: device.budget, "decoder weight")
    guard let from = stage.weight.floats.baseAddress, let to = turned.floats.baseAddress else { return }
    let outputs = outputs
    device.pool.forBlocks(of: inputs, grain: 16) { rows in
      for row in rows {
        let (source, target) = (from + row * 4 * outputs, to + row * 4 * outputs)
        for output in 0..<outputs {
          for quadrant in 0..<4 { target[quadrant * outputs + output] = source[output * 4 + quadrant] }
        }
      }
    }
  }

  /// target [inputs, outputs, 2, 2] += gradient [inputs, (ky, kx, output)].
  static func add(_ gradient: Tensor, to target: Tensor, _ device: CPUDevice) {
    let outputs = target.shape[1]
    guard let from = gradient.floats.baseAddress, let to = target.floats.baseAddress else { return }
    device.pool.forBlocks(of: target.shape[0], grain: 16) { rows in
      for row in rows {
        let (source, target) = (from + row * 4 * outputs, to + row * 4 * outputs)
        for output in 0..<outputs {
          for quadrant in 0..<4 { target[output * 4 + quadrant] += source[quadrant * outputs + output] }
        }
      }
    }
  }

  func repeatedBias(_ bias: Tensor, _ budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let repeated = try Tensor([4 * outputs], in: budget, "decoder bias")
    let (from, to) = (bias.floats, repeated.floats)
    for i in 0..<4 * outputs { to[i] = from[i % outputs] }
    return repeated
  }
}
