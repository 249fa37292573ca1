public import Platform

/// The processes that share one training run, each with a rank of 0..<size: what they tell each other.
///
/// Every operation is collective: all ranks call it, in the same order and with the same counts, and all get the same bits. Called from one
/// thread of a rank at a time. Every method throws `.state` when a rank is gone or the connection fails; a run cannot go on after that.
public protocol Communicator: Sendable {
  var rank: Int { get }
  var size: Int { get }
  /// Each value becomes the sum over all ranks.
  func sum(_ values: UnsafeMutableBufferPointer<Float>) throws(MedDINOError)
  func sum(_ values: UnsafeMutableBufferPointer<Double>) throws(MedDINOError)
  /// The bytes of all ranks, in the order of the ranks. `all` has `size` times as many as `own`.
  func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) throws(MedDINOError)
  /// The bytes of rank `root` come to all.
  func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws(MedDINOError)
  /// Returns when all ranks have called it.
  func barrier() throws(MedDINOError)
}

/// One process alone: nothing to tell.
public struct SoloCommunicator: Communicator {
  public init() {}
  public var rank: Int { 0 }
  public var size: Int { 1 }
  public func sum(_ values: UnsafeMutableBufferPointer<Float>) {}
  public func sum(_ values: UnsafeMutableBufferPointer<Double>) {}
  public func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) { all.copyMemory(from: own) }
  public func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) {}
  public func barrier() {}
}

extension Communicator {
  /// The rank that prints and writes files.
  public var isRoot: Bool { rank == 0 }
  public var isSolo: Bool { size == 1 }

  /// The sums over all ranks.
  public func sums(_ values: [Double]) throws(MedDINOError) -> [Double] {
    if isSolo || values.isEmpty { return values }
    var values = values
    try values.withUnsafeMutableBufferPointer { (buffer) throws(MedDINOError) in try sum(buffer) }
    return values
  }
  /// The value of every rank, in their order.
  public func gather(_ value: Double) throws(MedDINOError) -> [Double] {
    if isSolo { return [value] }
    var all = [Double](repeating: 0, count: size)
    let own = [value]
    try all.withUnsafeMutableBufferPointer { (all) throws(MedDINOError) in
      try own.withUnsafeBufferPointer { (own) throws(MedDINOError) in
        try gather(UnsafeRawBufferPointer(own), into: UnsafeMutableRawBufferPointer(all))
      }
    }
    return all
  }
  /// Whether any rank says so.
  public func isAny(_ flag: Bool) throws(MedDINOError) -> Bool { try sums([flag ? 1 : 0])[0] > 0 }

  /// Adds a float32 tensor over all ranks, in place.
  public func sum(_ tensor: Tensor) throws(MedDINOError) {
    if isSolo { return }
    try sum(tensor.floats)
    withExtendedLifetime(tensor) {}
  }
}

/// Which items of a batch a rank has: consecutive ones, and as many as the others or one more or less.
public func batchShare(of count: Int, rank: Int, size: Int) -> Range<Int> { count * rank / size..<count * (rank + 1) / size }
