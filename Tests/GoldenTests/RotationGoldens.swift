import CKernels
import Platform
import Tensors
import TestSupport

/// The rotation of q and k inside the attention kernels: what `attention_pack` writes for k is [token][d] float32.
let rotationGoldens: [GoldenCheck] = [GoldenCheck("encoder_*", run: checkRotation)]

private func checkRotation(_ file: GoldenFile) throws {
  guard try file.has("in.q"), try file.has("out.rot.fp32.q") else { return }
  for (kind, table) in [("fp32", "out.rope"), ("bf16", "out.bf16rope")] {
    let (sine, cosine) = (try file.floats(table + ".sin"), try file.floats(table + ".cos"))
    for part in ["q", "k"] {
      let input = try file.tensor("in." + part)
      try file.compare("out.rot.\(kind).\(part)", rotated(input, sine, cosine, rounded: kind == "bf16"))
    }
  }
}

/// input [batch, heads, tokens, d], packed as the k of an image.
private func rotated(_ input: Tensor, _ sine: [Float], _ cosine: [Float], rounded: Bool) throws -> [Float] {
  let (batch, heads, tokens, d) = (input.shape[0], input.shape[1], input.shape[2], input.shape[3])
  let device = try testDevice()
  let code: Int32 =
    switch device.instructionSet {
    case .portable: Int32(CK_PORTABLE)
    case .avx2: Int32(CK_AVX2)
    case .avx512: Int32(CK_AVX512)
    case .avx512BFloat16: Int32(CK_AVX512_BF16)
    case .neon: Int32(CK_NEON)
    }
  guard let kernels = ck_kernels_for(code)?.pointee else { throw MedDINOError.unsupported("no kernels for \(device.name)") }
  var result: [Float] = []
  for image in 0..<batch {
    var qkv = [Float](repeating: 0, count: tokens * 3 * heads * d)
    for h in 0..<heads {
      for t in 0..<tokens {
        for i in 0..<d { qkv[(t * 3 + 1) * heads * d + h * d + i] = input.floats[((image * heads + h) * tokens + t) * d + i] }
      }
    }
    var args = ck_attention_args()
    (args.tokens, args.prefix, args.heads, args.head_dim) = (Int64(tokens), Int64(tokens - sine.count / d), Int64(heads), Int64(d))
    args.qkv_stride = Int64(3 * heads * d)
    args.rope_bf16 = rounded ? 1 : 0
    let packed = try device.budget.allocate(kernels.attention_bytes(&args), "packed")
    args.packed = packed.pointer
    let blocks = (tokens + Int(kernels.attention_block()) - 1) / Int(kernels.attention_block())
    qkv.withUnsafeBufferPointer { q in
      sine.withUnsafeBufferPointer { s in
        cosine.withUnsafeBufferPointer { c in
          (args.qkv, args.sin, args.cos) = (q.baseAddress, s.baseAddress, c.baseAddress)
          for h in 0..<heads { for b in 0..<blocks { kernels.attention_pack(&args, Int64(h), Int64(b)) } }
        }
      }
    }
    let partFloats = blocks * Int(kernels.attention_block()) * d
    let values = packed.elements(Float.self)
    for h in 0..<heads { result += (0..<tokens * d).map { values[(3 * h + 1) * partFloats + $0] } }
    withExtendedLifetime(packed) {}
  }
  return result
}
