public import Platform
public import Tensors

/// What the ranks of a training run exchange at every step, and how they stop together.
extension Communicator {
  /// Sums the gradients of the parameters over all ranks and multiplies them by `factor`.
  ///
  /// A parameter that a backward reached on any rank has a gradient on all of them afterwards, as one process with all images would have.
  /// Throws: `.outOfMemory`, `.state`. Source: model specification 6 (gradients are the mean over ranks).
  public func sumGradients(of parameters: [Parameter], factor: Double = 1, device: any TrainingDevice) throws(MedDINOError) {
    if isSolo { return }
    let learned = parameters.filter(\.isTrainable)
    let reached = try sums(learned.map { $0.gradient == nil ? 0 : 1 })
    for (parameter, count) in zip(learned, reached) where count > 0 {
      let gradient = try parameter.gradientSum(device)
      try sum(gradient)
      if factor != 1 { device.scale(gradient, Float(factor)) }
    }
  }

  /// Throws `.state` unless all ranks hold the same bits: ranks that started from different files, or drifted apart.
  public func checkEqual(_ parameters: [Parameter]) throws(MedDINOError) {
    if isSolo { return }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for parameter in parameters {
      for word in parameter.value.elements(UInt32.self) { hash = (hash ^ UInt64(word)) &* 0x0000_0100_0000_01b3 }
    }
    // 48 bits are exact in double precision.
    let all = try gather(Double(hash >> 16))
    if let other = all.firstIndex(where: { $0 != all[0] }) {
      throw .state(
        "the weights of rank \(other) differ from those of rank 0, expected the same start and the same machine code on all ranks")
    }
  }
}

extension RunControl {
  /// Before work that all ranks do together: shows `fraction`, asks all ranks whether one of them should stop, and gives a control that
  /// shows progress but stops no more, because the other ranks would wait for this one. Alone it is the control itself.
  /// Throws: `.cancelled` on all ranks when it came to one of them, `.state`.
  public func agreed(at fraction: Double, by ranks: any Communicator) throws(MedDINOError) -> RunControl {
    try agreed(by: ranks) { () throws(MedDINOError) in try update(fraction) }
  }

  /// The same with `begin`, for the stage that is the whole of this control.
  public func begun(_ stage: String, by ranks: any Communicator) throws(MedDINOError) -> RunControl {
    try agreed(by: ranks) { () throws(MedDINOError) in try begin(stage, from: 0, to: 1) }
  }

  private func agreed(by ranks: any Communicator, _ show: () throws(MedDINOError) -> Void) throws(MedDINOError) -> RunControl {
    var stops = false
    do throws(MedDINOError) { try show() } catch { stops = true }
    if try ranks.isAny(stops) { throw .cancelled }
    if ranks.isSolo { return self }
    return RunControl { fraction, _ in
      do throws(MedDINOError) { try self.update(fraction) } catch {}
      return true
    }
  }
}
