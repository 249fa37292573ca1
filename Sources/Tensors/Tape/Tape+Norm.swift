public import Platform

/// The parameters of a LayerNorm or, without mean and bias, an RMSNorm.
public struct NormVariables {
  public enum Kind: Sendable { case layerNorm, rmsNorm }
  let kind: Kind
  let weight: Variable
  let bias: Variable?
  let epsilon: Float
  public init(_ kind: Kind, weight: Variable, bias: Variable?, epsilon: Float) {
    self.kind = kind
    self.weight = weight
    self.bias = bias
    self.epsilon = epsilon
  }
}

extension Tape {
  /// LayerNorm or RMSNorm over the last axis. Only the input is kept.
  ///
  /// Backward: statistics are computed again; input gradient is added to, weight and bias gradients are sums over rows.
  /// Throws: `.outOfMemory`. Source: model specification 1.4.
  public func norm(_ input: Variable, _ norm: NormVariables) throws(MedDINOError) -> Variable {
    let rows = input.value.count / norm.weight.value.count
    return try self.norm(input, [NormSegment(rows: 0..<rows, norm: norm)])
  }

  /// The same with a norm of its own for the first `prefixTokens` of every image. Shapes: input [images, tokens, dim].
  /// Source: model specification 1.8.
  public func norm(
    _ input: Variable, patches: NormVariables, prefix: NormVariables, prefixTokens: Int
  ) throws(MedDINOError) -> Variable {
    let (images, tokens) = (input.shape[0], input.shape[1])
    var segments: [NormSegment] = []
    for image in 0..<images {
      let first = image * tokens
      segments.append(NormSegment(rows: first..<first + prefixTokens, norm: prefix))
      if tokens > prefixTokens { segments.append(NormSegment(rows: first + prefixTokens..<first + tokens, norm: patches)) }
    }
    return try norm(input, segments)
  }

  /// Rows of the input and the norm that they go through.
  private struct NormSegment {
    let rows: Range<Int>
    let norm: NormVariables
  }

  private func norm(_ input: Variable, _ segments: [NormSegment]) throws(MedDINOError) -> Variable {
    guard let dim = segments.first?.norm.weight.value.count else { return input }
    let (shape, device, pool) = (input.shape, device, pool)
    let matrix: Shape = [input.value.count / dim, dim]
    let value = input.value.reshaped(matrix)
    let operands = segments.map { segment in
      let norm = segment.norm
      return NormOperand(
        rows: segment.rows, kind: norm.kind, epsilon: norm.epsilon, weight: norm.weight.value, bias: norm.bias?.value,
        toWeight: norm.weight.target, toBias: norm.bias?.target)
    }
    let remake: Variable.Remake = { () throws(MedDINOError) in
      let output = try pool.tensor(matrix, "norm")
      for operand in operands { operand.forward(device, value, output) }
      return output.reshaped(shape)
    }
    let target = input.target
    let inputs: [Variable?] = [input] + segments.map { $0.norm.weight } + segments.map { $0.norm.bias }
    return record(try remake(), inputs, remake: remake) { (tape, gradient) throws(MedDINOError) in
      let inputGradient = try tape.sum(target)?.reshaped(matrix)
      for operand in operands { try operand.backward(tape, value, gradient.reshaped(matrix), addingTo: inputGradient) }
    }
  }
}

/// One norm over a range of rows, with what its backward needs.
private struct NormOperand {
  let rows: Range<Int>
  let kind: NormVariables.Kind
  let epsilon: Float
  let weight: Tensor
  let bias: Tensor?
  let toWeight, toBias: GradientTarget?

  func forward(_ device: any TrainingDevice, _ input: Tensor, _ output: Tensor) {
    let (from, to) = (input.rows(rows), output.rows(rows))
    switch kind {
    case .layerNorm: device.layerNorm(from, weight: weight, bias: bias, epsilon: epsilon, into: to)
    case .rmsNorm: device.rmsNorm(from, weight: weight, epsilon: epsilon, into: to)
    }
  }

  func backward(_ tape: Tape, _ input: Tensor, _ gradient: Tensor, addingTo inputGradient: Tensor?) throws(MedDINOError) {
    let (from, above, below) = (input.rows(rows), gradient.rows(rows), inputGradient?.rows(rows))
    let weightGradient = try tape.sum(toWeight)
    switch kind {
    case .layerNorm:
      try tape.device.layerNormBackward(
        from, weight: weight, epsilon: epsilon, gradient: above, addingTo: below, weightGradient: weightGradient,
        biasGradient: try tape.sum(toBias))
    case .rmsNorm:
      try tape.device.rmsNormBackward(
        from, weight: weight, epsilon: epsilon, gradient: above, addingTo: below, weightGradient: weightGradient)
    }
  }
}
