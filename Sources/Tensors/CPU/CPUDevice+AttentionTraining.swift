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
    let kernels = kernels
    var args = ck_attention_backward_args()
    args.forward = attentionArguments(qkv, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision)
    let block = Int(kernels.attention_block())
    let blocks = (tokens + block - 1) / block
    let chunks = min(blocks, (Self.chunkTasks + heads - 1) / heads)
    args.chunks = Int64(chunks)
    let lanes = try AttentionLanes(
      self, batch: batch, tasks: heads * max(chunks, blocks), packedBytes: kernels.attention_backward_bytes(&args),
      scratchBytes: kernels.attention_backward_scratch(&args), "attention backward", workspace)
    let common = args
    try lanes.forEachImage(control) { image, packed, forEach in
      var own = common
      own.forward.packed = packed
      own.forward.qkv = UnsafePointer(q + image * tokens * 3 * dim)
      own.forward.out = out + image * tokens * dim
      own.forward.log_sum_exp = sums + image * heads * tokens
      own.gradient = UnsafePointer(g + image * tokens * dim)
      own.qkv_gradient = to + image * tokens * 3 * dim
      withUnsafePointer(to: own) { own in
        // block by block, not head by head: the rows of a block are read by all heads in turn
        forEach(heads * blocks) { task, _ in kernels.attention_backward_pack(own, Int64(task % heads), Int64(task / heads)) }
        forEach(heads * chunks) { task, scratch in
          kernels.attention_backward_keys(own, Int64(task / chunks), Int64(task % chunks), scratch)
        }
        forEach(heads * blocks) { task, _ in kernels.attention_backward_queries(own, Int64(task % heads), Int64(task / heads)) }
      }
    }
    withExtendedLifetime((gradient, qkv, output, logSumExp, rope, qkvGradient)) {}
  }
  /// Tasks that (heads × chunks of keys) come to at least, where there are that many.
  private static let chunkTasks = 32
}
