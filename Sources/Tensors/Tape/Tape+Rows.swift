public import Platform

extension Tape {
  /// Rows of the outermost axis by index: images of a batch, or tokens of a [rows, dim] matrix. The indices are distinct.
  ///
  /// Backward: the gradient of row indices[i] += g[i]. Throws: `.outOfMemory`.
  public func gather(_ input: Variable, _ indices: [Int]) throws(MedDINOError) -> Variable {
    let output = try tensor(Shape([indices.count] + input.shape.extents.dropFirst()), "gathered rows")
    device.gatherImages(input.value, indices, into: output)
    let target = input.target
    return record(output, [input]) { (tape, gradient) throws(MedDINOError) in
      if let target { tape.device.scatterAddImages(gradient, indices, to: try tape.sum(target)) }
    }
  }

  /// Tensors one after the other along the outermost axis, such as the class tokens of all crop groups.
  ///
  /// Backward: each input's gradient is its rows of g. Throws: `.outOfMemory`.
  public func concatenate(_ inputs: [Variable]) throws(MedDINOError) -> Variable {
    guard let first = inputs.first else { throw .invalid("concatenation of no tensors") }
    let rows = inputs.map { $0.shape[0] }
    let output = try tensor(Shape([rows.reduce(0, +)] + first.shape.extents.dropFirst()), "concatenated rows")
    var parts: [(target: GradientTarget, rows: Range<Int>)] = []
    var begin = 0
    for (input, count) in zip(inputs, rows) {
      let range = begin..<begin + count
      device.gatherImages(
        input.value.reshaped([1, input.value.count]), [0], into: output.rows(range).reshaped([1, input.value.count]))
      if let target = input.target { parts.append((target, range)) }
      begin += count
    }
    return record(output, inputs) { (tape, gradient) throws(MedDINOError) in
      for part in parts { try tape.hand(gradient.rows(part.rows), to: part.target) }
    }
  }
}
