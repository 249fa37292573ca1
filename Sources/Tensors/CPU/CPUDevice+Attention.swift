internal import CKernels
public import Platform

extension CPUDevice {
  public func attention(
    _ qkv: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?, precision: Precision, into output: Tensor,
    workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    try attention(
      qkv, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision, into: output, keeping: nil,
      workspace: workspace, control: control)
  }

  /// What is the same for every image: the caller adds the pointers.
  func attentionArguments(_ qkv: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?, precision: Precision) -> ck_attention_args {
    let dim = qkv.shape[2] / 3
    var args = ck_attention_args()
    args.tokens = Int64(qkv.shape[1])
    args.prefix = Int64(prefixTokens)
    args.heads = Int64(heads)
    args.head_dim = Int64(dim / heads)
    args.qkv_stride = Int64(3 * dim)
    args.out_stride = Int64(dim)
    args.sin = rope.flatMap { UnsafePointer($0.sine.floats.baseAddress) }
    args.cos = rope.flatMap { UnsafePointer($0.cosine.floats.baseAddress) }
    args.rope_bf16 = rope?.roundsToBFloat16 == true ? 1 : 0
    args.precision = precision == .bfloat16 ? Int32(CK_BF16) : Int32(CK_F32)
    return args
  }

  /// `logSumExp`: [batch, heads, tokens], what a backward needs.
  func attention(
    _ qkv: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?, precision: Precision, into output: Tensor,
    keeping logSumExp: Tensor?, workspace: Workspace, control: RunControl
  ) throws(MedDINOError) {
    let (batch, tokens, dim) = (qkv.shape[0], qkv.shape[1], qkv.shape[2] / 3)
    var args = attentionArguments(qkv, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision)
    args.packed = try workspace.buffer("attention", kernels.attention_bytes(&args)).pointer
    let block = Int(kernels.attention_block())
    let tasks = heads * ((tokens + block - 1) / block)
    let laneBytes = (kernels.attention_scratch(&args) + 63) / 64 * 64
    let scratch = try workspace.buffer("attention scratch", laneBytes * laneCount(tasks))
    for image in 0..<batch {
      try control.check()
      args.qkv = UnsafePointer(qkv.floats.baseAddress.map { $0 + image * tokens * 3 * dim })
      args.out = output.floats.baseAddress.map { $0 + image * tokens * dim }
      args.log_sum_exp = logSumExp?.floats.baseAddress.map { $0 + image * heads * tokens }
      run(args, tasks: tasks, blocks: tasks / heads, scratch: scratch.pointer, laneBytes: laneBytes)
    }
  }

  private func run(_ args: ck_attention_args, tasks: Int, blocks: Int, scratch: UnsafeMutableRawPointer, laneBytes: Int) {
    let kernels = kernels
    withUnsafePointer(to: args) { args in
      forEachLane(tasks) { _, task in kernels.attention_pack(args, Int64(task / blocks), Int64(task % blocks)) }
      forEachLane(tasks) { lane, task in
        kernels.attention_rows(args, Int64(task / blocks), Int64(task % blocks), scratch + lane * laneBytes)
      }
    }
  }
}
