public import Platform

extension Tape {
  /// Self-attention of each image, q and k rotated. Kept: qkv, the result, one logarithm per head and token; never a tokens × tokens map.
  ///
  /// Shapes: qkv [batch, tokens, 3 · dim], result [batch, tokens, dim].
  /// Throws: `.outOfMemory`, `.cancelled`. Source: model specification 1.3, 1.6.
  public func attention(
    _ qkv: Variable, heads: Int, prefixTokens: Int, rope: RopeTable?
  ) throws(MedDINOError) -> Variable {
    let (batch, tokens, dim) = (qkv.shape[0], qkv.shape[1], qkv.shape[2] / 3)
    let output = try tensor([batch, tokens, dim], "attention")
    guard let target = qkv.target else {
      try device.attention(
        qkv.value, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision, into: output, workspace: workspace,
        control: control)
      return Variable(output)
    }
    let logSumExp = try tensor([batch, heads, tokens], "attention sums")
    try device.attention(
      qkv.value, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision, into: output, logSumExp: logSumExp,
      workspace: workspace, control: control)
    let value = qkv.value
    return record(output, [qkv]) { (tape, gradient) throws(MedDINOError) in
      let qkvGradient = try tape.tensor(value.shape, "gradient")
      try tape.device.attentionBackward(
        gradient, qkv: value, output: output, logSumExp: logSumExp, heads: heads, prefixTokens: prefixTokens, rope: rope,
        precision: tape.precision, into: qkvGradient, workspace: tape.workspace, control: tape.control)
      try tape.hand(qkvGradient, to: target)
    }
  }
}
