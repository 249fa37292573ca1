/// SHA-256 of bytes that come in pieces. Source: FIPS 180-4, 6.2.
public struct SHA256: Sendable {
  private var state: [UInt32] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
  ]
  /// Bytes of an unfinished block.
  private var pending: [UInt8] = []
  private var length: UInt64 = 0

  public init() { pending.reserveCapacity(64) }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    length &+= UInt64(bytes.count)
    var rest = bytes[...]
    if !pending.isEmpty {
      let wanted = min(64 - pending.count, rest.count)
      pending.append(contentsOf: rest.prefix(wanted))
      rest = rest.dropFirst(wanted)
      if pending.count < 64 { return }
      compress(pending)
      pending.removeAll(keepingCapacity: true)
    }
    let whole = rest.count / 64 * 64
    if whole > 0 { compress(UnsafeRawBufferPointer(rebasing: rest.prefix(whole))) }
    pending.append(contentsOf: rest.dropFirst(whole))
  }
  public mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

  /// The digest of everything so far, 32 bytes; more may follow.
  public func digest() -> [UInt8] {
    var copy = self
    let bits = length &* 8
    let padding = (119 - copy.pending.count) % 64 + 1
    copy.update([0x80] + [UInt8](repeating: 0, count: padding - 1))
    copy.update((0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) })
    return copy.state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) } }
  }
  /// 64 lower-case hexadecimal digits.
  public func hexadecimal() -> String {
    let digits = Array("0123456789abcdef")
    return String(digest().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  /// Of a whole source, read in pieces. Throws: `.io`, `.format`, `.cancelled`.
  public static func hexadecimal(of source: any ByteSource, control: RunControl = RunControl()) throws(MedDINOError) -> String {
    var hash = SHA256()
    var at = 0
    while at < source.size {
      try control.check()
      let piece = try source.bytes(at: at, count: min(1 << 20, source.size - at))
      hash.update(piece)
      at += piece.count
    }
    return hash.hexadecimal()
  }

  private mutating func compress(_ block: [UInt8]) { block.withUnsafeBytes { compress($0) } }

  /// Whole blocks of 64 bytes. The schedule and the working variables stay off the heap.
  private mutating func compress(_ blocks: UnsafeRawBufferPointer) {
    let state = state
    self.state = roundConstants.withUnsafeBufferPointer { constants in
      withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
        var hash = state
        for start in stride(from: 0, to: blocks.count, by: 64) {
          for word in 0..<16 {
            schedule[word] = UInt32(bigEndian: blocks.loadUnaligned(fromByteOffset: start + 4 * word, as: UInt32.self))
          }
          for word in 16..<64 {
            let (far, near) = (schedule[word - 15], schedule[word - 2])
            let first = turned(far, 7) ^ turned(far, 18) ^ far >> 3
            let second = turned(near, 17) ^ turned(near, 19) ^ near >> 10
            schedule[word] = schedule[word - 16] &+ first &+ schedule[word - 7] &+ second
          }
          rounds(schedule, constants, &hash)
        }
        return hash
      }
    }
  }
}

private func turned(_ value: UInt32, _ bits: UInt32) -> UInt32 { value >> bits | value << (32 &- bits) }

private func rounds(_ schedule: UnsafeMutableBufferPointer<UInt32>, _ constants: UnsafeBufferPointer<UInt32>, _ hash: inout [UInt32]) {
  var (a, b, c, d) = (hash[0], hash[1], hash[2], hash[3])
  var (e, f, g, h) = (hash[4], hash[5], hash[6], hash[7])
  for round in 0..<64 {
    let mixE = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)
    let choice = (e & f) ^ (~e & g)
    let first = h &+ mixE &+ choice &+ constants[round] &+ schedule[round]
    let mixA = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)
    let majority = (a & b) ^ (a & c) ^ (b & c)
    (h, g, f, e) = (g, f, e, d &+ first)
    (d, c, b, a) = (c, b, a, first &+ mixA &+ majority)
  }
  for (place, value) in [a, b, c, d, e, f, g, h].enumerated() { hash[place] = hash[place] &+ value }
}

private let roundConstants: [UInt32] = [
  0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5, 0xd807_aa98,
  0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174, 0xe49b_69c1, 0xefbe_4786,
  0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da, 0x983e_5152, 0xa831_c66d, 0xb003_27c8,
  0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967, 0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13,
  0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85, 0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819,
  0xd699_0624, 0xf40e_3585, 0x106a_a070, 0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a,
  0x5b9c_ca4f, 0x682e_6ff3, 0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7,
  0xc671_78f2,
]
