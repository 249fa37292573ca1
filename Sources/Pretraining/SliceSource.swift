public import Platform
public import Tensors

/// Where the images of pretraining come from: shards on disk, a host's callback, an array in memory.
public protocol SliceSource: Sendable {
  var count: Int { get }
  /// Changes when the images or their numbers do: a run goes on only with those that it began with.
  var fingerprint: String { get }
  /// False: images are asked for only by the thread that iterates, one at a time.
  var isConcurrent: Bool { get }
  /// Image `index` of 0..<count. Called from several threads at once where `isConcurrent`; the same index always gives the same image.
  func slice(at index: Int, in budget: MemoryBudget) throws(MedDINOError) -> PretrainingSlice
}

extension SliceSource {
  /// The number of images, where a source knows no more.
  public var fingerprint: String { "\(count) images" }
  public var isConcurrent: Bool { true }
}

/// One image: a slice of a CT, or a picture.
public struct PretrainingSlice: Sendable {
  public enum Units: String, Sendable, CaseIterable {
    /// One channel in Hounsfield units.
    case hounsfield
    /// Colours from 0 to 1.
    case unitRange
    /// Nothing is left to normalise.
    case normalized
  }
  /// float32 [channels, rows, columns].
  public let pixels: Tensor
  public let units: Units
  public init(_ pixels: Tensor, units: Units) {
    self.pixels = pixels
    self.units = units
  }

  public var channels: Int { pixels.shape[0] }
  public var rows: Int { pixels.shape[1] }
  public var columns: Int { pixels.shape[2] }
}

/// Images that a closure gives: a host's callback, or a test's.
public struct CallbackSource: SliceSource {
  public let count: Int
  public let fingerprint: String
  public let isConcurrent: Bool
  private let body: @Sendable (Int, MemoryBudget) throws(MedDINOError) -> PretrainingSlice

  /// `fingerprint`: nil is that of their number alone. Throws: `.invalid` for a count below 1.
  public init(
    count: Int, fingerprint: String? = nil, isConcurrent: Bool = true,
    _ body: @escaping @Sendable (Int, MemoryBudget) throws(MedDINOError) -> PretrainingSlice
  ) throws(MedDINOError) {
    guard count >= 1 else { throw .invalid("slices are \(count), expected at least 1") }
    self.count = count
    self.fingerprint = fingerprint ?? "\(count) images"
    self.isConcurrent = isConcurrent
    self.body = body
  }
  public func slice(at index: Int, in budget: MemoryBudget) throws(MedDINOError) -> PretrainingSlice { try body(index, budget) }
}

/// The order in which images are seen: all of them in a random order, then all in another one, and so on for ever.
///
/// Sample n is a pure function of (seed, n) and takes no memory, so that a resumed run goes on where it stopped. A permutation of 2^b
/// numbers by four rounds of a balanced Feistel network, walked until it lands inside. Source: Black and Rogaway, "Ciphers with arbitrary
/// finite domains" (2002); model specification 7.3 (infinite shuffled sampling).
public struct ShuffledOrder: Sendable {
  public let count: Int
  private let seed: UInt64
  /// Bits of each half.
  private let half: UInt64

  public init(count: Int, seed: UInt64) {
    self.count = max(count, 1)
    self.seed = seed
    let bits = UInt64(Int.bitWidth - (self.count - 1).leadingZeroBitCount)
    half = max((bits + 1) / 2, 1)
  }

  /// The image of sample `sample`, 0..<count.
  public func index(_ sample: Int) -> Int {
    let pass = UInt64(sample / count)
    var value = UInt64(sample % count)
    repeat { value = permuted(value, pass) } while value >= UInt64(count)
    return Int(value)
  }

  private func permuted(_ value: UInt64, _ pass: UInt64) -> UInt64 {
    let mask = (1 << half) - 1 as UInt64
    var (left, right) = (value >> half, value & mask)
    for round in 0..<4 as Range<UInt64> {
      var random = CounterRandom(seed: seed, purpose: "order of slices", step: pass << 2 | round, item: right)
      (left, right) = (right, left ^ (random.next() & mask))
    }
    return left << half | right
  }
}
