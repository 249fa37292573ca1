public import Platform

extension Tape {
  /// Rows of the last axis at unit length, x / max(‖x‖, epsilon). Only the input is kept.
  ///
  /// Backward: (g − y (y · g)) / ‖x‖; g / epsilon where a row is shorter. Throws: `.outOfMemory`. Source: model specification 6.1.
  public func normalizeRows(_ input: Variable, epsilon: Float = 1e-12) throws(MedDINOError) -> Variable {
    let (value, device, pool) = (input.value, device, pool)
    let remake: Variable.Remake = { () throws(MedDINOError) in
      let output = try pool.tensor(value.shape, "unit rows")
      device.normalizeRows(value, epsilon: epsilon, into: output)
      return output
    }
    let target = input.target
    return record(try remake(), [input], remake: remake) { (tape, gradient) throws(MedDINOError) in
      guard let target else { return }
      tape.device.normalizeRowsBackward(value, epsilon: epsilon, gradient: gradient, addingTo: try tape.sum(target))
    }
  }

  /// `DistillationDevice.softCrossEntropy` of logits [rows, prototypes]. The gradient, multiplied by `scale`, is seeded at once.
  ///
  /// `overwrites`: the gradient takes the memory of the logits, which nobody else may then want. Throws: `.outOfMemory`.
  public func softCrossEntropy(
    _ logits: Variable, targets: Tensor, pairs: TargetPairs, temperature: Float, scale: Float = 1, overwrites: Bool = false
  ) throws(MedDINOError) -> Double {
    try seeding(logits, in: overwrites ? logits.value : nil) { (device, gradient) throws(MedDINOError) in
      try device.softCrossEntropy(
        logits.value, targets: targets, pairs: pairs, temperature: temperature, scale: scale, gradient: gradient)
    }
  }

  /// `DistillationDevice.koLeo` of rows [samples, dim]. The gradient, multiplied by `scale`, is seeded at once.
  ///
  /// `ranks`: neighbours are looked for among the rows of all ranks, in their order, each giving as many. The value is that of all rows, the
  /// gradient that of this rank's rows, also as neighbours of others. Throws: `.outOfMemory`, `.state`. Source: model specification 8.6.
  public func koLeo(
    _ rows: Variable, _ options: KoLeoOptions, scale: Float = 1, ranks: any Communicator = SoloCommunicator()
  ) throws(MedDINOError) -> Double {
    if ranks.isSolo {
      return try seeding(rows) { (device, gradient) throws(MedDINOError) in
        try device.koLeo(rows.value, options, scale: scale, gradient: gradient)
      }
    }
    let count = rows.shape[0]
    let all = try tensor([ranks.size * count, rows.shape[1]], "class tokens of all ranks")
    try ranks.gather(UnsafeRawBufferPointer(rows.value.bytes), into: all.bytes)
    guard rows.needsGradient, isRecording else { return try device.koLeo(all, options, scale: scale, gradient: nil) }
    let gradient = try tensor(all.shape, "gradient of a loss")
    let value = try device.koLeo(all, options, scale: scale, gradient: gradient)
    try seed(rows, gradient.rows(ranks.rank * count..<(ranks.rank + 1) * count))
    return value
  }

  /// `DistillationDevice.gramLoss` of student tokens [images, tokens, dim]. The gradient, multiplied by `scale`, is seeded at once.
  /// Throws: `.outOfMemory`.
  public func gramLoss(_ student: Variable, teacher: Tensor, _ options: GramOptions, scale: Float = 1) throws(MedDINOError) -> Double {
    try seeding(student) { (device, gradient) throws(MedDINOError) in
      try device.gramLoss(student.value, teacher: teacher, options, scale: scale, gradient: gradient)
    }
  }

  /// A loss that gives its value and, into the tensor it gets (`place` or a new one), the gradient of its input.
  private func seeding(
    _ input: Variable, in place: Tensor? = nil, _ loss: (any TrainingDevice, Tensor?) throws(MedDINOError) -> Double
  ) throws(MedDINOError) -> Double {
    guard input.needsGradient, isRecording else { return try loss(device, nil) }
    let gradient = if let place { place } else { try tensor(input.shape, "gradient of a loss") }
    let value = try loss(device, gradient)
    try seed(input, gradient)
    return value
  }
}
