// A few kernels of every supported instruction set and the pool, as `swift test` sees them. Tests/Kernels holds the
// thorough C program (all kernels, all tails, AArch64 under qemu).
import CKernels
import Testing

/// Numbers in [-1, 1) that are the same on every run.
private struct Noise {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }
  mutating func next() -> Float {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Float(state >> 40) * 0x1p-23 - 1
  }
  mutating func floats(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}

/// Sixty-four-byte aligned room for packed operands and scratch, for the length of `body`.
private func withRoom<Result>(_ bytes: Int, _ body: (UnsafeMutableRawPointer) throws -> Result) rethrows -> Result {
  let room = UnsafeMutableRawPointer.allocate(byteCount: max(bytes, 1), alignment: 64)
  defer { room.deallocate() }
  return try body(room)
}

/// Round to nearest even, by the definition.
private func bf16(_ x: Float) -> Float {
  let bits = x.bitPattern
  return Float(bitPattern: (bits &+ 0x7fff &+ ((bits >> 16) & 1)) & 0xffff_0000)
}

private let supported: [Int32] = (0..<Int32(CK_ISA_COUNT)).filter { ck_isa_supported($0) == 1 }

@Suite("CKernels")
struct CKernelsTests {
  @Test func bestIsSupportedAndUnknownIsNot() {
    #expect(supported.contains(ck_isa_best()))
    #expect(supported.contains(Int32(CK_PORTABLE)))
    #expect(ck_kernels_for(-1) == nil)
    #expect(ck_kernels_for(Int32(CK_ISA_COUNT)) == nil)
  }

  @Test(arguments: supported) func layerNorm(isa: Int32) throws {
    let kernels = try #require(ck_kernels_for(isa)).pointee
    for columns in [1, 5, 16, 33, 768] {
      var noise = Noise(UInt64(columns))
      let x = noise.floats(2 * columns), w = noise.floats(columns), b = noise.floats(columns)
      var y = [Float](repeating: 0, count: 2 * columns)
      kernels.layer_norm(x, Int64(columns), &y, Int64(columns), Int32(CK_F32), w, b, 2, Int64(columns), 1e-5)
      for row in 0..<2 {
        let values = x[(row * columns)..<((row + 1) * columns)].map(Double.init)
        let mean = values.reduce(0, +) / Double(columns)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns)
        for i in 0..<columns {
          let expected = (values[i] - mean) / (variance + 1e-5).squareRoot() * Double(w[i]) + Double(b[i])
          #expect(abs(Double(y[row * columns + i]) - expected) < 4e-6 * (1 + abs(expected)))
        }
      }
    }
  }

  /// Values of x Phi(x) to nine digits (mpmath).
  @Test(arguments: supported) func gelu(isa: Int32) throws {
    let kernels = try #require(ck_kernels_for(isa)).pointee
    var x: [Float] = [-3, -1, -0.5, 0, 0.5, 1, 3]
    let expected: [Float] = [-0.00404969409, -0.158655254, -0.154268770, 0, 0.345731231, 0.841344746, 2.99595031]
    kernels.bias_gelu(&x, 7, nil, 1, 7)
    for (got, want) in zip(x, expected) { #expect(abs(got - want) <= 4e-7 * max(1, abs(want))) }
  }

  @Test(arguments: supported, [false, true]) func gemm(isa: Int32, wide: Bool) throws {
    let kernels = try #require(ck_kernels_for(isa)).pointee
    let product = wide ? kernels.gemm_f32 : kernels.gemm_bf16
    for (m, n, k) in [(1, 1, 1), (7, 33, 65), (29, 40, 801)] {
      var noise = Noise(UInt64(m))
      let a = noise.floats(m * k), w = noise.floats(n * k), bias = noise.floats(n)
      var c = [Float](repeating: 0, count: m * n)
      let sizes = (Int64(n), Int64(k))
      withRoom(wide ? kernels.packed_f32_bytes(sizes.0, sizes.1) : kernels.packed_bf16_bytes(sizes.0, sizes.1)) { packed in
        withRoom(wide ? kernels.gemm_f32_scratch(sizes.1) : kernels.gemm_bf16_scratch(sizes.1)) { scratch in
          (wide ? kernels.pack_f32 : kernels.pack_bf16)(w, sizes.1, sizes.0, sizes.1, packed)
          a.withUnsafeBufferPointer { a in
            bias.withUnsafeBufferPointer { bias in
              c.withUnsafeMutableBufferPointer { c in
                var arguments = ck_gemm_args()
                (arguments.m, arguments.n, arguments.k) = (Int64(m), Int64(n), Int64(k))
                arguments.a = UnsafeRawPointer(a.baseAddress)
                (arguments.lda, arguments.a_type) = (Int64(k), Int32(CK_F32))
                arguments.packed = UnsafeRawPointer(packed)
                arguments.bias = bias.baseAddress
                arguments.c = UnsafeMutableRawPointer(c.baseAddress)
                (arguments.ldc, arguments.c_type) = (Int64(n), Int32(CK_F32))
                product(&arguments, scratch)
              }
            }
          }
        }
      }
      func seen(_ x: Float) -> Double { Double(wide ? x : bf16(x)) }
      var worst = 0.0
      for i in 0..<m {
        for j in 0..<n {
          var expected = Double(bias[j])
          for p in 0..<k { expected += seen(a[i * k + p]) * seen(w[j * k + p]) }
          worst = max(worst, abs(Double(c[i * n + j]) - expected))
        }
      }
      #expect(worst < 1e-5 * Double(k).squareRoot() + 1e-6, "m \(m) n \(n) k \(k)")
    }
  }

  /// One head, no rotation, against the plain softmax. bf16 products: 2^-8 of the values' size.
  @Test(arguments: supported) func attention(isa: Int32) throws {
    let kernels = try #require(ck_kernels_for(isa)).pointee
    for (tokens, width) in [(3, 4), (131, 12), (200, 64)] {
      for (precision, tolerance) in [(Int32(CK_F32), 5e-6), (Int32(CK_BF16), 1e-2)] {
        var noise = Noise(UInt64(tokens))
        let qkv = noise.floats(tokens * 3 * width)
        let out = run(kernels, qkv, tokens: tokens, width: width, precision: precision)
        #expect(worstError(qkv, out, tokens: tokens, width: width) < tolerance, "tokens \(tokens) width \(width)")
      }
    }
  }

  private func run(_ kernels: ck_kernels, _ qkv: [Float], tokens: Int, width: Int, precision: Int32) -> [Float] {
    var out = [Float](repeating: 0, count: tokens * width)
    qkv.withUnsafeBufferPointer { qkv in
      out.withUnsafeMutableBufferPointer { out in
        var arguments = ck_attention_args()
        (arguments.tokens, arguments.heads, arguments.head_dim) = (Int64(tokens), 1, Int64(width))
        (arguments.qkv, arguments.qkv_stride) = (qkv.baseAddress, Int64(3 * width))
        (arguments.out, arguments.out_stride) = (out.baseAddress, Int64(width))
        arguments.precision = precision
        let size = kernels.attention_block(), blocks = (Int64(tokens) + size - 1) / size
        withRoom(kernels.attention_bytes(&arguments)) { packed in
          withRoom(kernels.attention_scratch(&arguments)) { scratch in
            arguments.packed = packed
            for block in 0..<blocks { kernels.attention_pack(&arguments, 0, block) }
            for block in 0..<blocks { kernels.attention_rows(&arguments, 0, block, scratch) }
          }
        }
      }
    }
    return out
  }

  /// exp by squaring e^(x / 1024)'s series ten times: the tests need no C math library.
  private func exponential(_ x: Double) -> Double {
    let small = x / 1024
    var result = 1 + small * (1 + small / 2 * (1 + small / 3 * (1 + small / 4 * (1 + small / 5))))
    for _ in 0..<10 { result *= result }
    return result
  }

  private func worstError(_ qkv: [Float], _ out: [Float], tokens: Int, width: Int) -> Double {
    func value(_ part: Int, _ token: Int, _ i: Int) -> Double { Double(qkv[(token * 3 + part) * width + i]) }
    var worst = 0.0
    for token in 0..<tokens {
      var weights = (0..<tokens).map { (key: Int) -> Double in
        let score = (0..<width).reduce(0.0) { $0 + value(0, token, $1) * value(1, key, $1) }
        return exponential(score / Double(width).squareRoot())
      }
      let sum = weights.reduce(0, +)
      for key in 0..<tokens { weights[key] /= sum }
      for i in 0..<width {
        let expected = (0..<tokens).reduce(0.0) { $0 + weights[$1] * value(2, $1, i) }
        let error = abs(Double(out[token * width + i]) - expected)
        worst = error <= worst ? worst : error.isNaN ? .infinity : error
      }
    }
    return worst
  }

  @Test(arguments: [1, 2, 5]) func poolRunsEveryIndexOnce(threads: Int32) throws {
    let pool = try #require(ck_pool_create(threads, nil, nil, 0))
    defer { ck_pool_destroy(pool) }
    #expect(ck_pool_width(pool) == threads)
    for count in [0, 1, 2, 100, 5000] {
      var marks = [Int32](repeating: 0, count: count + 1)
      marks.withUnsafeMutableBufferPointer { marks in
        // Each index is another element: no two threads touch the same one.
        ck_pool_run(
          pool, Int64(count),
          { argument, index in
            argument?.assumingMemoryBound(to: Int32.self)[Int(index)] += 1
          }, marks.baseAddress)
      }
      #expect(marks.prefix(count).allSatisfy { $0 == 1 } && marks[count] == 0, "count \(count)")
    }
  }

  @Test func lastErrorIsCutOnACharacter() {
    ck_set_last_error(String(repeating: "€", count: 500))
    #expect(String(cString: ck_last_error()) == String(repeating: "€", count: 341))
    ck_set_last_error(nil)
    #expect(String(cString: ck_last_error()) == "")
  }
}
