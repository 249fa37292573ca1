public import Platform

extension Tape {
  /// stream + scale · gamma · branch, where `indices` names the images that the branch holds (nil: all, in order).
  ///
  /// `inPlace` writes over the stream's value, for a stream that nothing else keeps.
  /// Shapes: stream [images, tokens, dim], branch [kept, tokens, dim], gamma [dim] or nil.
  /// Backward: the stream's gradient is g itself; branch gradient = scale · gamma · g[indices];
  /// gamma gradient += the sum over rows of scale · g · branch.
  /// Throws: `.outOfMemory`. Source: model specification 1.4, 1.5.
  public func residual(
    _ stream: Variable, _ branch: Variable, indices: [Int]? = nil, scale: Float = 1, gamma: Variable? = nil, inPlace: Bool = false
  ) throws(MedDINOError) -> Variable {
    let output = inPlace ? stream.value : try copy(stream.value)
    device.addResidual(branch.value, indices: indices, scale: scale, gamma: gamma?.value, to: output)
    let (toStream, toBranch, toGamma) = (stream.target, branch.target, gamma?.target)
    let (shape, factor) = (branch.shape, gamma?.value)
    // Only gamma's gradient reads the branch.
    let saved = toGamma == nil ? nil : branch.saved
    return record(output, [stream, branch, gamma]) { (tape, gradient) throws(MedDINOError) in
      if toBranch != nil || toGamma != nil {
        let branchGradient = try tape.tensor(shape, "gradient")
        let value = try saved?() ?? branchGradient
        let gammaGradient = try tape.sum(toGamma)
        try tape.device.addResidualBackward(
          gradient, branch: value, indices: indices, scale: scale, gamma: factor, branchGradient: branchGradient,
          gammaGradient: gammaGradient)
        if let toBranch { try tape.hand(branchGradient, to: toBranch) }
      }
      if let toStream { try tape.hand(gradient, to: toStream) }
    }
  }

  /// A vector times constants, such as a bias and its mask. Shapes: both [count].
  /// Backward: g · constants, exactly 0 where the constant is 0. Throws: `.outOfMemory`.
  public func scaled(_ vector: Variable, by constants: Tensor) throws(MedDINOError) -> Variable {
    let row: Shape = [1, 1, constants.count]
    let output = try tensor(row, "scaled vector")
    device.fill(output, 0)
    device.addResidual(vector.value.reshaped(row), indices: nil, scale: 1, gamma: constants, to: output)
    let target = vector.target
    return record(output.reshaped(vector.shape), [vector]) { (tape, gradient) throws(MedDINOError) in
      guard let target else { return }
      let result = try tape.tensor(row, "gradient")
      try tape.device.addResidualBackward(
        gradient.reshaped(row), branch: result, indices: nil, scale: 1, gamma: constants, branchGradient: result, gammaGradient: nil)
      try tape.hand(result, to: target)
    }
  }

  /// A copy in the tape's memory.
  func copy(_ value: Tensor) throws(MedDINOError) -> Tensor {
    let result = try tensor(value.shape, "copy")
    device.gatherImages(value, Array(0..<value.shape[0]), into: result)
    return result
  }
}
