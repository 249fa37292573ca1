public import Platform

extension Tape {
  /// Runs `body` but keeps only its input; the backward runs it again, so memory is traded for one more forward.
  ///
  /// `body` must give the same bits both times: random draws are captured by value. Gradients are the same, bit for bit, as without.
  /// Throws: what `body` throws.
  public func checkpoint(
    _ input: Variable, _ body: @escaping (Tape, Variable) throws(MedDINOError) -> Variable
  ) throws(MedDINOError) -> Variable {
    guard isRecording else { return try body(self, input) }
    let start = Variable(input.value, slot: input.slot)
    let output = try withoutRecording { () throws(MedDINOError) in try body(self, start) }
    // A slot says that something inside, or the input, needs a gradient.
    guard output.slot != nil else { return output }
    return record(output.value, [output]) { (tape, gradient) throws(MedDINOError) in
      try tape.replay({ () throws(MedDINOError) in try body(tape, start) }, gradient: gradient)
    }
  }
}
