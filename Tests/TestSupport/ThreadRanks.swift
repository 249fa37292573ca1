internal import Platform
public import Tensors

/// Ranks that are threads of one process, for tests: every operation waits for all of them, sums go in the order of the ranks.
public final class ThreadRanks: @unchecked Sendable {
  public let size: Int
  private let monitor = Monitor()
  // Guarded by the monitor.
  private var parts: [[UInt8]]
  private var arrived = 0
  private var round = 0
  private var isBroken = false

  public init(_ size: Int) {
    self.size = size
    parts = [[UInt8]](repeating: [], count: size)
  }

  /// Runs `body` on a thread per rank and gives the results in their order. An error of one ends the waiting of the others.
  public func run<Result>(_ body: @escaping (any Communicator) throws -> Result) throws -> [Result] {
    nonisolated(unsafe) var results = [Swift.Result<Result, any Error>?](repeating: nil, count: size)
    var tasks: [BackgroundTask] = []
    for rank in 0..<size {
      let task = BackgroundTask { [self] in
        let result = Swift.Result { try body(Rank(rank: rank, ranks: self)) }
        monitor.lock()
        results[rank] = result
        if case .failure = result { isBroken = true }
        monitor.broadcast()
        monitor.unlock()
      }
      try task.start()
      tasks.append(task)
    }
    for task in tasks {
      _ = task.wait(milliseconds: -1)
      task.join()
    }
    // What went wrong first, rather than that somebody waited for it.
    let failures = results.compactMap { result in if case .failure(let error)? = result { error } else { nil } }
    if let first = failures.first(where: { ($0 as? MedDINOError) != Self.gone }) ?? failures.first { throw first }
    return try results.compactMap { try $0?.get() }
  }
  private static let gone = MedDINOError.state("another rank has ended")

  /// Everybody's bytes, once all have brought theirs.
  fileprivate func exchange(_ bytes: [UInt8], rank: Int) throws(MedDINOError) -> [[UInt8]] {
    monitor.lock()
    defer { monitor.unlock() }
    parts[rank] = bytes
    try meet()
    let all = parts
    try meet()  // nobody brings the next ones before all have these
    return all
  }

  private func meet() throws(MedDINOError) {
    let own = round
    arrived += 1
    if arrived == size {
      arrived = 0
      round += 1
      monitor.broadcast()
    }
    while round == own, !isBroken { monitor.wait() }
    if round == own { throw Self.gone }
  }
}

private struct Rank: Communicator {
  let rank: Int
  let ranks: ThreadRanks
  var size: Int { ranks.size }

  private func added<T: BinaryFloatingPoint & BitwiseCopyable>(_ values: UnsafeMutableBufferPointer<T>) throws(MedDINOError) {
    let all = try ranks.exchange(Array(UnsafeRawBufferPointer(values)), rank: rank)
    if all.contains(where: { $0.count != all[0].count }) {
      throw .state("ranks add \(all.map(\.count)) bytes, expected equal numbers")
    }
    for (index, part) in all.enumerated() {
      part.withUnsafeBytes { bytes in
        for place in values.indices {
          let value = bytes.loadUnaligned(fromByteOffset: place * MemoryLayout<T>.size, as: T.self)
          values[place] = index == 0 ? value : values[place] + value
        }
      }
    }
  }
  func sum(_ values: UnsafeMutableBufferPointer<Float>) throws(MedDINOError) { try added(values) }
  func sum(_ values: UnsafeMutableBufferPointer<Double>) throws(MedDINOError) { try added(values) }
  func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) throws(MedDINOError) {
    let parts = try ranks.exchange(Array(own), rank: rank)
    guard parts.allSatisfy({ $0.count * size == all.count }) else { throw .state("ranks gather \(parts.map(\.count)) bytes") }
    all.copyBytes(from: parts.joined())
  }
  func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws(MedDINOError) {
    let parts = try ranks.exchange(rank == root ? Array(bytes) : [], rank: rank)
    guard parts[root].count == bytes.count else { throw .state("rank \(root) gives \(parts[root].count) bytes, expected \(bytes.count)") }
    bytes.copyBytes(from: parts[root])
  }
  func barrier() throws(MedDINOError) { _ = try ranks.exchange([], rank: rank) }
}
