public import Platform
internal import Synchronization
public import Tensors

/// What a look at every byte of a set found.
public struct SliceCheck: Sendable {
  public var slices = 0
  public var bytes = 0
  public var seconds = 0.0
  public var threads = 1
  /// Empty when the set is whole.
  public var problems: [SliceSet.Fault] = []

  public var slicesPerSecond: Double { seconds > 0 ? Double(slices) / seconds : 0 }
}

/// How fast one thread reads slices as training does. Units: slices per second.
public struct SliceReadingSpeed: Sendable {
  /// In the order of the shards, and in random order.
  public var sequential = 0.0
  public var positional = 0.0
}

extension SliceSet {
  /// Reads every byte: SHA-256 of shards and indices, tar headers, `.npy` headers, check sums, the range of the values, the cases.
  ///
  /// Shards and parts that were left out on opening count as problems. Memory: one slice for each thread.
  /// Throws: `.cancelled`.
  public func check(pool: ThreadPool, control: RunControl = RunControl()) throws(MedDINOError) -> SliceCheck {
    let start = monotonicSeconds()
    try control.begin("checking", from: 0, to: 1)
    let next = Atomic<Int>(0)
    let done = Atomic<Int>(0)
    let stopped = Atomic<Bool>(false)
    let found = Mutex<[(place: Int, fault: Fault)]>([])
    let total = places.reduce(0) { $0 + $1.record.bytes }
    let lanes = min(pool.width, places.count)
    pool.forEach(lanes) { lane in
      while !stopped.load(ordering: .relaxed) {
        let place = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard place < places.count else { return }
        let faults = checkShard(places[place]) { bytes in
          let sum = done.wrappingAdd(bytes, ordering: .relaxed).newValue
          // Progress is reported from the calling thread, as RunControl promises; the others only look for a stop.
          do throws(MedDINOError) {
            if lane == 0 { try control.update(Double(sum) / Double(max(total, 1))) } else { try control.check() }
          } catch { stopped.store(true, ordering: .relaxed) }
          return !stopped.load(ordering: .relaxed)
        }
        found.withLock { found in found += faults.map { (place, $0) } }
      }
    }
    if stopped.load(ordering: .relaxed) { throw .cancelled }
    var result = SliceCheck()
    result.problems = skipped + found.withLock { $0.sorted { $0.place < $1.place }.map(\.fault) }
    for part in parts { result.problems += checkCases(part) }
    result.slices = count
    result.bytes = total
    result.threads = lanes
    result.seconds = monotonicSeconds() - start
    try control.update(1)
    return result
  }

  /// Reads for about `seconds` in each order. Throws: as `slice`.
  public func readingSpeed(seconds: Double = 1) throws(MedDINOError) -> SliceReadingSpeed {
    var speed = SliceReadingSpeed()
    var random = CounterRandom(seed: 0, purpose: "reading speed")
    for isPositional in [false, true] {
      let start = monotonicSeconds()
      var read = 0
      while read < 1_000_000, read == 0 || monotonicSeconds() - start < seconds {
        let index = isPositional ? random.integer(0...count - 1) : read % count
        _ = try slice(at: index)
        read += 1
      }
      let rate = Double(read) / max(monotonicSeconds() - start, 1e-9)
      if isPositional { speed.positional = rate } else { speed.sequential = rate }
    }
    return speed
  }

  /// At most twenty faults of one shard. `progress` gets the bytes read and says whether to go on.
  private func checkShard(_ place: Place, _ progress: (Int) -> Bool) -> [Fault] {
    let part = parts[place.part]
    let path = part.folder + "/" + place.record.file
    var faults: [Fault] = []
    func add(_ error: MedDINOError) { if faults.count < 20 { faults.append(Fault(place: path, reason: error.message)) } }
    do throws(MedDINOError) {
      let shard = try SliceShard(folder: part.folder, place.record)
      let indexHash = try shard.indexHash()
      if indexHash != place.record.indexSHA256 {
        add(.format("\(part.folder)/\(place.record.index): SHA-256 is \(indexHash), the manifest says \(place.record.indexSHA256)"))
      }
      var walk = ShardWalk(shard: shard, clip: part.manifest.rules.clip)
      for number in 0..<place.record.slices {
        let before = walk.position
        do throws(MedDINOError) { try walk.step(number) } catch {
          guard error.kind == .format else { throw error }
          add(error)
        }
        guard progress(walk.position - before) else { return [] }
      }
      let hash = try walk.finish()
      if hash != place.record.sha256 { add(.format("\(path): SHA-256 is \(hash), the manifest says \(place.record.sha256)")) }
    } catch { add(error) }
    return faults
  }

  private func checkCases(_ part: Part) -> [Fault] {
    let path = part.folder + "/" + SliceManifest.casesName
    do throws(MedDINOError) {
      let cases = try Self.cases(in: part.folder)
      var counts = SliceCounts()
      for one in cases { counts.add(one.slices) }
      guard cases.count == part.manifest.cases, counts == part.manifest.slices else {
        throw .format(
          "\(path): \(cases.count) cases with \(counts.kept) slices, the manifest says \(part.manifest.cases) with "
            + "\(part.manifest.slices.kept)")
      }
      return []
    } catch {
      return [Fault(place: path, reason: error.message)]
    }
  }
}

/// Goes through a shard once, entry by entry.
private struct ShardWalk {
  let shard: SliceShard
  let clip: ClosedRange<Int>
  private(set) var position = 0
  private var hash = SHA256()
  private var bytes: [UInt8] = []

  init(shard: SliceShard, clip: ClosedRange<Int>) {
    self.shard = shard
    self.clip = clip
  }

  /// Reads the next entry and compares it with its row. Throws: `.format`, after the entry is passed where that is possible; `.io`.
  mutating func step(_ number: Int) throws(MedDINOError) {
    let row = try shard.row(number)
    guard row.offset == position + TarHeader.blockSize else {
      throw .format("\(shard.name(number)): the index says byte \(row.offset), the archive has it at \(position + TarHeader.blockSize)")
    }
    let size = TarHeader.blockSize + row.bytes + TarHeader.padding(row.bytes)
    try take(size)
    let header = try TarHeader(Array(bytes.prefix(TarHeader.blockSize)), shard.name(number))
    guard header.size == row.bytes else {
      throw .format("\(shard.name(number)): the archive says \(header.size) bytes, the index \(row.bytes)")
    }
    let file = TarHeader.blockSize..<TarHeader.blockSize + row.bytes
    try withBytes(of: bytes) { (raw) throws(MedDINOError) in
      try shard.check(UnsafeRawBufferPointer(rebasing: raw[file]), row, number)
      for place in 0..<row.rows * row.columns {
        let value = Int(Int16(littleEndian: raw.loadUnaligned(fromByteOffset: file.upperBound - 2 * (place + 1), as: Int16.self)))
        guard clip.contains(value) else { throw .format("\(shard.name(number)): holds \(value) HU, the rules clip to \(clip)") }
      }
    }
  }

  /// The SHA-256 of the whole file. Throws: `.format`, `.io`.
  mutating func finish() throws(MedDINOError) -> String {
    while position < shard.tar.size { try take(min(1 << 20, shard.tar.size - position)) }
    return hexadecimal(hash.finish())
  }

  private mutating func take(_ count: Int) throws(MedDINOError) {
    bytes = try shard.tar.bytes(at: position, count: count)
    guard bytes.count == count else { throw .format("\(shard.tar.path): truncated: \(count) bytes wanted at \(position)") }
    bytes.withUnsafeBytes { hash.update($0) }
    position += count
  }
}
