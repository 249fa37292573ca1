public import Platform

/// The decoder's parameters on a tape. Shapes: as `DecoderWeights`.
public struct DecoderVariables {
  public struct Stage {
    let weight, bias, normWeight, normBias: Variable
    public init(weight: Variable, bias: Variable, normWeight: Variable, normBias: Variable) {
      self.weight = weight
      self.bias = bias
      self.normWeight = normWeight
      self.normBias = normBias
    }
  }
  let stages: [Stage]
  let headWeight, headBias: Variable
  public init(stages: [Stage], headWeight: Variable, headBias: Variable) {
    self.stages = stages
    self.headWeight = headWeight
    self.headBias = headBias
  }

  /// Stage by stage weight, bias, norm weight, norm bias; then the head's weight and bias.
  fileprivate var all: [Variable] {
    stages.flatMap { [$0.weight, $0.bias, $0.normWeight, $0.normBias] } + [headWeight, headBias]
  }
  fileprivate static func weights(_ tensors: [Tensor]) -> DecoderWeights {
    let count = (tensors.count - 2) / 4
    return DecoderWeights(
      stages: (0..<count).map {
        .init(weight: tensors[4 * $0], bias: tensors[4 * $0 + 1], normWeight: tensors[4 * $0 + 2], normBias: tensors[4 * $0 + 3])
      }, headWeight: tensors[4 * count], headBias: tensors[4 * count + 1])
  }
}

extension Tape {
  /// The whole Primus decoder as one operation. Kept are the taps and the convolutions of all stages but the last, whose map is the largest:
  /// the backward computes it again, group by group of tokens. `recompute` keeps the taps alone.
  ///
  /// Shapes: taps [batch, prefix + rows · columns, dim], logits [batch, classes, rows · patch, columns · patch].
  /// Throws: `.outOfMemory`, `.cancelled`. Source: model specification 3.1.
  public func decode(
    _ taps: [Variable], prefixTokens: Int, rows: Int, columns: Int, _ decoder: DecoderVariables, recompute: Bool = false
  ) throws(MedDINOError) -> Variable {
    guard let batch = taps.first?.shape[0] else { throw .invalid("the decoder got no taps") }
    let (patch, variables) = (1 << decoder.stages.count, decoder.all)
    let weights = DecoderVariables.weights(variables.map(\.value))
    let logits = try tensor([batch, decoder.headWeight.shape[0], rows * patch, columns * patch], "logits")
    let values = taps.map(\.value)
    var kept: [Tensor] = []
    if isRecording, !recompute, (taps + variables).contains(where: { $0.needsGradient }) {
      for (index, stage) in decoder.stages.dropLast().enumerated() {
        kept.append(try tensor([batch * rows * columns, stage.weight.shape[1] << (2 * (index + 1))], "decoder map"))
      }
    }
    try device.decode(
      values, prefixTokens: prefixTokens, rows: rows, columns: columns, weights: weights, precision: precision, into: logits,
      keeping: kept, workspace: workspace, control: control)
    let (toTaps, toWeights) = (taps.map(\.target), variables.map(\.target))
    return record(logits, taps + variables) { (tape, gradient) throws(MedDINOError) in
      let tapGradients = try tape.scratch(values, unless: toTaps.allSatisfy { $0 == nil })
      var sums: [Tensor]?
      if toWeights.contains(where: { $0 != nil }) {
        var list: [Tensor] = []
        for (target, weight) in zip(toWeights, variables) {
          if let target { list.append(try tape.sum(target)) } else { list.append(try tape.tensor(weight.shape, "unused gradient")) }
        }
        sums = list
      }
      try tape.device.decodeBackward(
        gradient, taps: values, prefixTokens: prefixTokens, rows: rows, columns: columns, weights: weights, precision: tape.precision,
        kept: kept, tapGradients: tapGradients, gradients: sums.map(DecoderVariables.weights), workspace: tape.workspace,
        control: tape.control)
      for (target, result) in zip(toTaps, tapGradients ?? []) {
        if let target { try tape.hand(result, to: target) }
      }
    }
  }

  /// Tensors in the shapes of others.
  private func scratch(_ values: [Tensor], unless unneeded: Bool) throws(MedDINOError) -> [Tensor]? {
    if unneeded { return nil }
    var list: [Tensor] = []
    for value in values { list.append(try tensor(value.shape, "gradient")) }
    return list
  }
}
