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
    let kernels = kernels
    var args = attentionArguments(qkv, heads: heads, prefixTokens: prefixTokens, rope: rope, precision: precision)
    let block = Int(kernels.attention_block())
    let tasks = heads * ((tokens + block - 1) / block)
    let lanes = try AttentionLanes(
      self, batch: batch, tasks: tasks, packedBytes: kernels.attention_bytes(&args), scratchBytes: kernels.attention_scratch(&args),
      "attention", workspace)
    let (q, out, sums) = (qkv.floats.baseAddress, output.floats.baseAddress, logSumExp?.floats.baseAddress)
    let common = args
    try lanes.forEachImage(control) { image, packed, forEach in
      var own = common
      own.packed = packed
      own.qkv = q.map { UnsafePointer($0 + image * tokens * 3 * dim) }
      own.out = out.map { $0 + image * tokens * dim }
      own.log_sum_exp = sums.map { $0 + image * heads * tokens }
      let blocks = tasks / heads
      withUnsafePointer(to: own) { own in
        forEach(tasks) { task, _ in kernels.attention_pack(own, Int64(task / blocks), Int64(task % blocks)) }
        forEach(tasks) { task, scratch in kernels.attention_rows(own, Int64(task / blocks), Int64(task % blocks), scratch) }
      }
    }
    withExtendedLifetime((qkv, output, logSumExp, rope)) {}
  }
}

/// How the images of a batch are spread over the threads: one after the other, all threads taking heads and blocks of it, or, where there
/// are many small ones, each thread its own images from beginning to end. What is computed is the same.
struct AttentionLanes {
  /// Runs `body(task, scratch)` for every task of an image.
  typealias ForEach = (_ tasks: Int, _ body: (_ task: Int, _ scratch: UnsafeMutableRawPointer) -> Void) -> Void
  private let device: CPUDevice
  private let batch: Int
  private let takesImages: Bool
  private let packed, scratch: Buffer
  private let packedBytes, scratchBytes: Int
  /// Images of every thread, from which on threads take whole ones, and the largest packed image that they do so with.
  private static let imagesPerLane = 4
  private static let largestPacked = 4 << 20

  /// packedBytes, scratchBytes: what the kernels ask for an image and a thread; tasks: of an image at most.
  /// Throws: `.outOfMemory`.
  init(
    _ device: CPUDevice, batch: Int, tasks: Int, packedBytes: Int, scratchBytes: Int, _ name: String, _ workspace: Workspace
  ) throws(MedDINOError) {
    self.device = device
    self.batch = batch
    takesImages = batch >= Self.imagesPerLane * device.pool.width && packedBytes <= Self.largestPacked
    (self.packedBytes, self.scratchBytes) = ((packedBytes + 63) / 64 * 64, (scratchBytes + 63) / 64 * 64)
    let lanes = device.laneCount(takesImages ? batch : tasks)
    packed = try workspace.buffer(name, self.packedBytes * (takesImages ? lanes : 1))
    scratch = try workspace.buffer(name + " scratch", self.scratchBytes * lanes)
  }

  /// Throws: `.cancelled`.
  func forEachImage(
    _ control: RunControl, _ body: (_ image: Int, _ packed: UnsafeMutableRawPointer, _ forEach: ForEach) -> Void
  ) throws(MedDINOError) {
    let (device, packed, scratch, packedBytes, scratchBytes) = (device, packed.pointer, scratch.pointer, packedBytes, scratchBytes)
    let step = takesImages ? 2 * Self.imagesPerLane * device.pool.width : 1
    var first = 0
    while first < batch {
      try control.check()
      let count = min(step, batch - first)
      if takesImages {
        device.forEachLane(count) { lane, index in
          body(first + index, packed + lane * packedBytes) { tasks, run in
            for task in 0..<tasks { run(task, scratch + lane * scratchBytes) }
          }
        }
      } else {
        body(first, packed) { tasks, run in
          device.forEachLane(tasks) { lane, task in run(task, scratch + lane * scratchBytes) }
        }
      }
      first += count
    }
  }
}
