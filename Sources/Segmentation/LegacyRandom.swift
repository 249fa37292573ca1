internal import CKernels

/// The MT19937 generator of NumPy's `RandomState`, for the draws that the official pipeline fixes by seed:
/// foreground locations, fingerprint samples and splits.
///
/// Source: pipeline specification 2, 4.7, 5.
public struct LegacyRandom: Sendable {
  private static let length = 624
  private static let offset = 397
  private var state: [UInt32]
  private var position: Int

  /// The state of `RandomState(seed)` for a 32-bit seed.
  public init(seed: UInt32) {
    state = [UInt32](repeating: 0, count: Self.length)
    var word = seed
    for index in 0..<Self.length {
      state[index] = word
      word = 1_812_433_253 &* (word ^ (word >> 30)) &+ UInt32(index + 1)
    }
    position = Self.length
  }

  /// The next 32 random bits.
  public mutating func next() -> UInt32 {
    if position == Self.length { refill() }
    var word = state[position]
    position += 1
    word ^= word >> 11
    word ^= (word << 7) & 0x9d2c_5680
    word ^= (word << 15) & 0xefc6_0000
    return word ^ (word >> 18)
  }

  private mutating func refill() {
    for index in 0..<Self.length {
      let following = state[(index + 1) % Self.length]
      let joined = (state[index] & 0x8000_0000) | (following & 0x7fff_ffff)
      let twist: UInt32 = joined & 1 == 0 ? 0 : 0x9908_b0df
      state[index] = state[(index + Self.offset) % Self.length] ^ (joined >> 1) ^ twist
    }
    position = 0
  }

  /// A whole number in 0...maximum: masked bits, drawn again until they fit. No draw when `maximum` is 0.
  public mutating func bounded(_ maximum: Int) -> Int {
    guard maximum > 0 else { return 0 }
    let mask = UInt64.max >> UInt64(maximum.leadingZeroBitCount)
    while true {
      var bits = UInt64(next())
      if maximum > Int(UInt32.max) { bits = bits << 32 | UInt64(next()) }
      let value = bits & mask
      if value <= UInt64(maximum) { return Int(value) }
    }
  }

  /// A double in [0, 1) from 53 bits, as `random_sample` gives it.
  public mutating func uniform() -> Double {
    let high = next() >> 5
    let low = next() >> 6
    return (Double(high) * 67_108_864 + Double(low)) / 9_007_199_254_740_992
  }

  /// Shuffles in place with the draws of `RandomState.shuffle`: a list of 0..<n becomes `permutation(n)`.
  public mutating func shuffle<Element: BitwiseCopyable>(_ elements: UnsafeMutableBufferPointer<Element>) {
    for last in stride(from: elements.count - 1, to: 0, by: -1) {
      let other = bounded(last)
      let kept = elements[last]
      elements[last] = elements[other]
      elements[other] = kept
    }
  }

  /// Draws `draws` numbers as `bounded(counts.count - 1)` does and adds 1 to `counts` at each: many draws of few places in
  /// little memory. At most 2^32 counts.
  public mutating func count(_ draws: Int, into counts: UnsafeMutableBufferPointer<UInt32>) {
    guard let base = counts.baseAddress, draws > 0 else { return }
    var place = Int32(position)
    ck_legacy_count(&state, &place, UInt32(truncatingIfNeeded: counts.count - 1), Int64(draws), base)
    position = Int(place)
  }

  /// `RandomState.permutation(count)`; for lists whose length is small and known.
  public mutating func permutation(_ count: Int) -> [Int] {
    var result = Array(0..<max(count, 0))
    result.withUnsafeMutableBufferPointer { shuffle($0) }
    return result
  }
}
