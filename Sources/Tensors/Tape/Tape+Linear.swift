public import Platform

extension Tape {
  /// input · weightᵀ + bias.
  ///
  /// Shapes: input [..., inputs], weight [outputs, inputs], bias [outputs], result [..., outputs].
  /// Backward: input gradient = g · weight; weight gradient += gᵀ · input; bias gradient += column sums of g.
  /// Throws: `.outOfMemory`.
  public func linear(_ input: Variable, weight: Variable, bias: Variable? = nil) throws(MedDINOError) -> Variable {
    let (outputs, inputs) = (weight.shape[0], weight.value.count / max(weight.shape[0], 1))
    let rows = input.value.count / inputs
    let output = try tensor([rows, outputs], "linear layer")
    let matrix = weight.value.reshaped([outputs, inputs])
    try device.linear(
      input.value.reshaped([rows, inputs]), weight: matrix, bias: bias?.value, precision: precision, into: output)
    // Only the weight's gradient reads the input.
    let saved = weight.needsGradient ? input.saved : nil
    let (toInput, toWeight, toBias) = (input.target, weight.target, bias?.target)
    let shape = Shape(input.shape.extents.dropLast() + [outputs])
    return record(output.reshaped(shape), [input, weight, bias]) { (tape, gradient) throws(MedDINOError) in
      var result = LinearGradients()
      if let toInput {
        let (target, adds) = try tape.place(toInput)
        (result.input, result.addsToInput) = (target.reshaped([rows, inputs]), adds)
      }
      if let toWeight {
        let (target, adds) = try tape.place(toWeight)
        (result.weight, result.addsToWeight) = (target.reshaped([outputs, inputs]), adds)
      }
      result.bias = try tape.sum(toBias)
      let value = try saved?().reshaped([rows, inputs])
      try tape.device.linearBackward(
        gradient.reshaped([rows, outputs]), input: value ?? matrix, weight: matrix, precision: tape.precision, into: result)
    }
  }
}
