internal import CKernels
public import Platform

extension CPUDevice {
  public func attention(
    _ qkv: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?, precision: Precision, into output: Tensor, logSumExp: Tensor,
    workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    try attention(
      qkv, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision, into: output, keeping: logSumExp,
      workspace: workspace, control: control)
  }

  public func attentionBackward(
    _ gradient: Tensor, qkv: Tensor, output: Tensor, logSumExp: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?,
    precision: Precision, into qkvGradient: Tensor, workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    let (batch, tokens, dim) = (qkv.shape[0], qkv.shape[1], qkv.shape[2] / 3)
    guard let q = qkv.floats.baseAddress, let out = output.floats.baseAddress, let sums = logSumExp.floats.baseAddress,
      let g = gradient.floats.baseAddress, let to = qkvGradient.floats.baseAddress, tokens > 0
    else { return }
    var args = ck_attention_backward_args()
    args.forward = attentionArguments(qkv, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision)
    let block = Int(kernels.attention_block())
    let blocks = (tokens + block - 1) / block
    let chunks = min(blocks, (Self.chunkTasks + heads - 1) / heads)
    args.chunks = Int64(chunks)
    args.forward.packed = try workspace.buffer("attention backward", kernels.attention_backward_bytes(&args)).pointer
    let laneBytes = (kernels.attention_backward_scratch(&args) + 63) / 64 * 64
    let scratch = try workspace.buffer("attention backward scratch", laneBytes * laneCount(heads * chunks))
    for image in 0..<batch {
      try control.check()
      args.forward.qkv = UnsafePointer(q + image * tokens * 3 * dim)
      args.forward.out = out + image * tokens * dim
      args.forward.log_sum_exp = sums + image * heads * tokens
      args.gradient = UnsafePointer(g + image * tokens * dim)
      args.qkv_gradient = to + image * tokens * 3 * dim
      runBackward(args, heads: heads, blocks: blocks, chunks: chunks, scratch: scratch.pointer, laneBytes: laneBytes)
    }
    withExtendedLifetime((gradient, qkv, output, logSumExp, rope, qkvGradient)) {}
  }
  /// Tasks that (heads × chunks of keys) come to at least, where there are that many.
  private static let chunkTasks = 32

  private func runBackward(
    _ args: ck_attention_backward_args, heads: Int, blocks: Int, chunks: Int, scratch: UnsafeMutableRawPointer, laneBytes: Int
  ) {
    let kernels = kernels
    withUnsafePointer(to: args) { args in
      // block by block, not head by head: the rows of a block are read by all heads in turn
      forEachLane(heads * blocks) { _, task in kernels.attention_backward_pack(args, Int64(task % heads), Int64(task / heads)) }
      forEachLane(heads * chunks) { lane, task in
        kernels.attention_backward_keys(args, Int64(task / chunks), Int64(task % chunks), scratch + lane * laneBytes)
      }
      forEachLane(heads * blocks) { _, task in kernels.attention_backward_queries(args, Int64(task % heads), Int64(task / heads)) }
    }
  }
}
