internal import Platform
internal import Slices

/// Digests of slices, for asking whether one was seen: 16 bytes each in a table that is at most three quarters full.
struct DigestSet {
  private let budget: MemoryBudget
  private var table: Buffer
  private var mask: Int
  private(set) var count = 0
  /// The table's free places hold zeros, so the digest of zeros has a place of its own.
  private var hasZero = false

  /// Throws: `.outOfMemory`.
  init(in budget: MemoryBudget) throws(MedDINOError) {
    self.budget = budget
    mask = 1023
    table = try budget.allocateZeroed((mask + 1) * 16, "digests of slices")
  }

  func contains(_ digest: SliceDigest) -> Bool {
    if digest == SliceDigest(high: 0, low: 0) { return hasZero }
    let words = table.elements(UInt64.self)
    let place = Self.place(of: digest, words, mask)
    return words[2 * place] == digest.high && words[2 * place + 1] == digest.low
  }

  /// Throws: `.outOfMemory`.
  mutating func insert(_ digest: SliceDigest) throws(MedDINOError) {
    guard !contains(digest) else { return }
    count += 1
    if digest == SliceDigest(high: 0, low: 0) {
      hasZero = true
      return
    }
    if count > (mask + 1) / 4 * 3 { try grow() }
    Self.put(digest, table.elements(UInt64.self), mask)
  }

  private mutating func grow() throws(MedDINOError) {
    let larger = 2 * mask + 1
    let fresh = try budget.allocateZeroed((larger + 1) * 16, "digests of slices")
    let (old, new) = (table.elements(UInt64.self), fresh.elements(UInt64.self))
    for place in 0...mask where old[2 * place] != 0 || old[2 * place + 1] != 0 {
      Self.put(SliceDigest(high: old[2 * place], low: old[2 * place + 1]), new, larger)
    }
    table = fresh
    mask = larger
  }

  private static func put(_ digest: SliceDigest, _ words: UnsafeMutableBufferPointer<UInt64>, _ mask: Int) {
    let place = place(of: digest, words, mask)
    words[2 * place] = digest.high
    words[2 * place + 1] = digest.low
  }

  /// Where the digest is, or the free place where it would go. Digests are uniform already.
  private static func place(of digest: SliceDigest, _ words: UnsafeMutableBufferPointer<UInt64>, _ mask: Int) -> Int {
    var place = Int(truncatingIfNeeded: digest.low) & mask
    while words[2 * place] != 0 || words[2 * place + 1] != 0 {
      if words[2 * place] == digest.high, words[2 * place + 1] == digest.low { break }
      place = (place + 1) & mask
    }
    return place
  }
}
