internal import Glibc

/// Random numbers that depend on what they are for, never on who drew before: Philox4x32-10, keyed by (seed, purpose,
/// step, item).
///
/// A value: copying it copies the position in the stream, and two streams with different keys never overlap under one
/// seed. Any number can be drawn again later (after a resume, on another thread, in another order) by naming the same
/// key. One stream holds 2^34 words, then starts over.
///
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), Philox-4x32 with 10
/// rounds.
public struct CounterRandom: RandomNumberGenerator, Sendable {
  /// What the numbers are for, so that two uses with the same step and item do not see the same numbers.
  public struct Purpose: ExpressibleByStringLiteral, Hashable, Sendable {
    /// 32-bit FNV-1a hash of the name.
    public let code: UInt32
    public init(_ name: String) {
      code = name.utf8.reduce(0x811c_9dc5) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    }
    public init(stringLiteral name: String) { self.init(name) }
  }

  private let key: SIMD2<UInt32>
  private var counter: SIMD4<UInt32>
  private var block = SIMD4<UInt32>()
  private var used = 4
  private var spareNormal: Double?

  /// The stream's own key and counter come from one Philox block of (step, item) under the seed, which is one to one:
  /// different (step, item) give different streams.
  public init(seed: UInt64, purpose: Purpose, step: UInt64 = 0, item: UInt64 = 0) {
    let derived = Self.block(
      counter: SIMD4(Self.low(step), Self.high(step), Self.low(item), Self.high(item)),
      key: SIMD2(Self.low(seed), Self.high(seed)))
    key = SIMD2(derived[0], derived[1])
    counter = SIMD4(0, purpose.code, derived[2], derived[3])
  }

  /// One block of Philox4x32-10.
  @inlinable public static func block(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var (c0, c1, c2, c3) = (counter[0], counter[1], counter[2], counter[3])
    var (k0, k1) = (key[0], key[1])
    for _ in 0..<10 {
      let a = UInt64(c0) &* 0xd251_1f53
      let b = UInt64(c2) &* 0xcd9e_8d57
      c0 = UInt32(truncatingIfNeeded: b >> 32) ^ c1 ^ k0
      c1 = UInt32(truncatingIfNeeded: b)
      c2 = UInt32(truncatingIfNeeded: a >> 32) ^ c3 ^ k1
      c3 = UInt32(truncatingIfNeeded: a)
      k0 &+= 0x9e37_79b9
      k1 &+= 0xbb67_ae85
    }
    return SIMD4(c0, c1, c2, c3)
  }

  /// The next four words at once, for filling large arrays; words left over from single draws are kept for later.
  public mutating func nextBlock() -> SIMD4<UInt32> {
    let result = Self.block(counter: counter, key: key)
    counter[0] &+= 1
    return result
  }

  public mutating func nextWord() -> UInt32 {
    if used == 4 {
      block = nextBlock()
      used = 0
    }
    let word = block[used]
    used += 1
    return word
  }

  public mutating func next() -> UInt64 {
    let low = UInt64(nextWord())
    return UInt64(nextWord()) << 32 | low
  }

  /// Uniform in [0, 1), a multiple of 2^-24.
  public mutating func uniformFloat() -> Float { Float(nextWord() >> 8) * 0x1p-24 }

  /// Uniform in [0, 1), a multiple of 2^-53.
  public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// Uniform between the bounds of the range.
  public mutating func uniform(_ range: ClosedRange<Double>) -> Double {
    range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
  }

  /// Uniform in 0..<n without bias; 0 when n is below 2.
  /// Source: Lemire, "Fast random integer generation in an interval" (2019).
  public mutating func below(_ n: Int) -> Int {
    guard n > 1 else { return 0 }
    let bound = UInt64(n)
    let reject = (0 &- bound) % bound
    while true {
      let product = next().multipliedFullWidth(by: bound)
      if product.low >= reject { return Int(product.high) }
    }
  }

  /// Uniform over the whole numbers of the range.
  public mutating func integer(_ range: ClosedRange<Int>) -> Int {
    let (width, overflow) = range.upperBound.subtractingReportingOverflow(range.lowerBound)
    return overflow || width == Int.max ? range.lowerBound : range.lowerBound + below(width + 1)
  }

  /// True with probability `p`.
  public mutating func chance(_ p: Double) -> Bool { uniform() < p }

  /// Standard normal. Source: Box and Muller (1958); both values of a pair are used.
  public mutating func normal() -> Double {
    if let value = spareNormal {
      spareNormal = nil
      return value
    }
    let radius = (-2 * log(1 - uniform())).squareRoot()
    let angle = 2 * Double.pi * uniform()
    spareNormal = radius * sin(angle)
    return radius * cos(angle)
  }

  /// The numbers 0..<n in random order. Source: Fisher and Yates. For n from a file or a caller use `permute(_:)` on a
  /// budgeted buffer.
  public mutating func permutation(_ n: Int) -> [Int] {
    var order = Array(0..<max(n, 0))
    order.withUnsafeMutableBufferPointer { permute($0) }
    return order
  }

  /// Puts the elements in random order.
  public mutating func permute<T>(_ elements: UnsafeMutableBufferPointer<T>) {
    var last = elements.count - 1
    while last > 0 {
      elements.swapAt(last, below(last + 1))
      last -= 1
    }
  }

  private static func low(_ value: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: value) }
  private static func high(_ value: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: value >> 32) }
}
