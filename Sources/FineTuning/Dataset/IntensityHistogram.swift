internal import Platform
internal import Synchronization
internal import Tensors

/// Order statistics of hundreds of millions of float32 samples in bounded memory.
///
/// Samples come as values with counts, in any order, from any thread; the result depends on neither. While there are few different
/// values (CT: a few thousand) each is counted on its own. When there are too many, only ranges of values are counted, and a second
/// pass over the same samples counts single values in those ranges that hold the wanted ranks.
final class IntensityHistogram: Sendable {
  private struct State {
    /// Counts by the upper half of the key, 65536 of them.
    var coarse: Buffer
    /// Open addressing: keys and counts side by side; a count of 0 is a free place.
    var keys: Buffer?
    var counts: Buffer?
    var capacityBits = 0
    var distinct = 0
    var total = 0
    var smallest = UInt32.max
    var largest = UInt32.min
    /// Upper halves whose single values are counted in a second pass, with 65536 counts each.
    var refined: [UInt32: Buffer] = [:]
  }
  private let state: Mutex<State>
  private let budget: MemoryBudget
  private let distinctLimit: Int

  /// Throws: `.outOfMemory`.
  init(in budget: MemoryBudget, distinctLimit: Int = 1 << 21) throws(MedDINOError) {
    let coarse = try budget.allocateZeroed(65536 * 8, "intensity histogram")
    let bits = 12
    let keys = try budget.allocate(4 << bits, "intensity histogram")
    let counts = try budget.allocateZeroed(4 << bits, "intensity histogram")
    state = Mutex(State(coarse: coarse, keys: keys, counts: counts, capacityBits: bits))
    self.budget = budget
    self.distinctLimit = distinctLimit
  }

  /// Orders as the value does; -0 counts as 0.
  static func key(_ value: Float) -> UInt32 {
    let bits = value == 0 ? 0 : value.bitPattern
    return bits & 0x8000_0000 != 0 ? ~bits : bits | 0x8000_0000
  }
  static func value(_ key: UInt32) -> Float { Float(bitPattern: key & 0x8000_0000 != 0 ? key & 0x7fff_ffff : ~key) }

  var total: Int { state.withLock { $0.total } }
  var extremes: (smallest: Float, largest: Float) { state.withLock { (Self.value($0.smallest), Self.value($0.largest)) } }

  /// Adds samples: `values[i]` counts `counts[i]` times.
  func add(_ values: UnsafeBufferPointer<Float>, _ counts: UnsafeBufferPointer<UInt32>) throws(MedDINOError) {
    var failure: MedDINOError?
    state.withLock { state in
      let coarse = state.coarse.elements(UInt64.self)
      for index in 0..<values.count where counts[index] > 0 {
        let key = Self.key(values[index])
        let count = counts[index]
        coarse[Int(key >> 16)] += UInt64(count)
        state.total += Int(count)
        state.smallest = min(state.smallest, key)
        state.largest = max(state.largest, key)
        guard state.counts != nil else { continue }
        if state.distinct * 2 >= 1 << state.capacityBits {
          do throws(MedDINOError) { try grow(&state) } catch {
            failure = error
            return
          }
        }
        Self.insert(key, count, &state)
      }
    }
    if let failure { throw failure }
  }

  private static func insert(_ key: UInt32, _ count: UInt32, _ state: inout State) {
    guard let keys = state.keys?.elements(UInt32.self), let counts = state.counts?.elements(UInt32.self) else { return }
    let mask = 1 << state.capacityBits - 1
    var place = Int((key &* 2_654_435_769) >> (32 - UInt32(state.capacityBits))) & mask
    while counts[place] != 0, keys[place] != key { place = (place + 1) & mask }
    if counts[place] == 0 {
      keys[place] = key
      state.distinct += 1
    }
    counts[place] += count
  }

  /// Doubles the table, or gives it up when it would hold more than `distinctLimit` values.
  private func grow(_ state: inout State) throws(MedDINOError) {
    guard state.distinct < distinctLimit, let keys = state.keys, let counts = state.counts else {
      (state.keys, state.counts) = (nil, nil)
      return
    }
    let bits = state.capacityBits + 1
    let newKeys = try budget.allocate(4 << bits, "intensity histogram")
    let newCounts = try budget.allocateZeroed(4 << bits, "intensity histogram")
    let (oldKeys, oldCounts) = (keys.elements(UInt32.self), counts.elements(UInt32.self))
    (state.keys, state.counts, state.capacityBits, state.distinct) = (newKeys, newCounts, bits, 0)
    for index in oldCounts.indices where oldCounts[index] != 0 { Self.insert(oldKeys[index], oldCounts[index], &state) }
    withExtendedLifetime((keys, counts)) {}
  }
}

extension IntensityHistogram {
  /// Whether the wanted ranks need a second pass; prepares for it. Ranks count from 0.
  func prepareRefinement(_ ranks: [Int]) throws(MedDINOError) -> Bool {
    let wanted: Set<UInt32> = state.withLock { state in
      state.counts == nil ? Set(ranks.map { Self.range(of: $0, state).upper }) : []
    }
    for upper in wanted {
      let counts = try budget.allocateZeroed(65536 * 8, "intensity histogram")
      state.withLock { $0.refined[upper] = counts }
    }
    return !wanted.isEmpty
  }

  /// The same samples again, all of them.
  func refine(_ values: UnsafeBufferPointer<Float>, _ counts: UnsafeBufferPointer<UInt32>) {
    state.withLock { state in
      for index in 0..<values.count where counts[index] > 0 {
        let key = Self.key(values[index])
        guard let fine = state.refined[key >> 16] else { continue }
        fine.elements(UInt64.self)[Int(key & 0xffff)] += UInt64(counts[index])
      }
    }
  }

  /// The samples of the given ranks in ascending order. Throws: `.internal` when they are not known.
  func samples(_ ranks: [Int]) throws(MedDINOError) -> [Float] {
    let found: [Float?] = state.withLock { state in
      if let keys = state.keys?.elements(UInt32.self), let counts = state.counts?.elements(UInt32.self) {
        let sorted = counts.indices.filter { counts[$0] != 0 }.map { (keys[$0], Int(counts[$0])) }.sorted { $0.0 < $1.0 }
        return ranks.map { rank in
          var below = 0
          for (key, count) in sorted {
            below += count
            if rank < below { return Self.value(key) }
          }
          return nil
        }
      }
      return ranks.map { rank in
        let (upper, start) = Self.range(of: rank, state)
        guard let fine = state.refined[upper]?.elements(UInt64.self) else { return nil }
        var below = start
        for index in fine.indices {
          below += Int(fine[index])
          if rank < below { return Self.value(upper << 16 | UInt32(index)) }
        }
        return nil
      }
    }
    let known = found.compactMap { $0 }
    guard known.count == ranks.count else { throw MedDINOError(.internal, "intensity ranks \(ranks) of \(total) samples are not known") }
    return known
  }

  /// The upper half of the key at a rank, and how many samples lie below that half.
  private static func range(of rank: Int, _ state: borrowing State) -> (upper: UInt32, below: Int) {
    let coarse = state.coarse.elements(UInt64.self)
    var below = 0
    for index in coarse.indices {
      if rank < below + Int(coarse[index]) { return (UInt32(index), below) }
      below += Int(coarse[index])
    }
    return (UInt32(65535), below)
  }
}
