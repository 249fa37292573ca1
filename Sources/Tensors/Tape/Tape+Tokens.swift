public import Platform

extension Tape {
  /// The token sequence of every image: prefix tokens, then patches, masked ones replaced by the mask token.
  ///
  /// Shapes: prefix tensors [..., dim] (class token, storage tokens), patches [batch · patches, dim], mask [batch, patches] uint8 or nil,
  /// maskToken [..., dim], result [batch, prefix + patches, dim].
  /// Backward: prefix gradients are sums over images; the mask token's is the sum over masked patches. Without a mask it is zero, not
  /// none, so that the optimiser decays it. Throws: `.outOfMemory`. Source: model specification 1.2.
  public func assembleTokens(
    prefix: [Variable], patches: Variable, mask: Tensor?, maskToken: Variable, batch: Int
  ) throws(MedDINOError) -> Variable {
    let dim = patches.shape[1]
    let counts = prefix.map { $0.value.count / dim }
    let prefixCount = counts.reduce(0, +)
    let patchCount = patches.shape[0] / batch
    let joined = try withoutRecording { () throws(MedDINOError) in
      try concatenate(zip(prefix, counts).map { Variable($0.value.reshaped([$1, dim])) }).value
    }
    let output = try tensor([batch, prefixCount + patchCount, dim], "tokens")
    device.assembleTokens(prefix: joined, patches: patches.value, mask: mask, maskToken: maskToken.value, into: output)
    let (toPrefix, toPatches, toMask) = (prefix.map(\.target), patches.target, maskToken.target)
    return record(output, prefix + [patches, maskToken]) { (tape, gradient) throws(MedDINOError) in
      let patchGradient = try tape.tensor([batch * patchCount, dim], "gradient")
      var prefixGradient: Tensor?
      if toPrefix.contains(where: { $0 != nil }) {
        let sum = try tape.tensor([prefixCount, dim], "gradient")
        tape.device.fill(sum, 0)
        prefixGradient = sum
      }
      let maskGradient = try tape.sum(toMask)
      // Whoever takes single tokens hands back a matrix of all of them.
      tape.device.assembleTokensBackward(
        gradient.reshaped([batch, prefixCount + patchCount, dim]), mask: mask, prefixGradient: prefixGradient,
        maskTokenGradient: maskGradient, patchGradient: patchGradient)
      var begin = 0
      for (target, count) in zip(toPrefix, counts) {
        if let target, let prefixGradient { try tape.hand(prefixGradient.rows(begin..<begin + count), to: target) }
        begin += count
      }
      if let toPatches { try tape.hand(patchGradient, to: toPatches) }
    }
  }
}
