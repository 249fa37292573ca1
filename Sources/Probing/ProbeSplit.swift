public import Platform
internal import Tensors

/// Which slices are learned from and which are held out. A pure function of the slices' cases and the seed.
public struct ProbeSplit: Equatable, Sendable {
  /// Ascending numbers of slices.
  public let training: [Int]
  public let heldOut: [Int]

  /// A third of the cases is held out. Of one case alternate blocks of neighbouring slices are, and where there are enough slices, those
  /// at a border between blocks take no part, because they are nearly the same.
  ///
  /// `cases`: the case of every slice, in order. `shots`: so many slices are learned from, one out of each of as many equal parts of the
  /// training slices. Throws: `.invalid` when a side has no slice, or fewer than `shots`.
  public init(cases: [Int], seed: UInt64, shots: Int? = nil) throws(MedDINOError) {
    let names = cases.reduce(into: [Int]()) { if $0.last != $1 { $0.append($1) } }
    var (training, heldOut): ([Int], [Int]) = ([], [])
    var random = CounterRandom(seed: seed, purpose: "probe split")
    if Set(names).count > 1 {
      let all = Array(Set(names)).sorted()
      let out = Set(random.permutation(all.count).prefix(max(1, all.count / 3)).map { all[$0] })
      for (slice, name) in cases.enumerated() { if out.contains(name) { heldOut.append(slice) } else { training.append(slice) } }
    } else {
      (training, heldOut) = Self.blocks(of: cases.count, &random)
    }
    if let shots {
      guard shots >= 1, shots <= training.count else {
        throw .invalid("shots are \(shots), expected 1 to \(training.count), the slices that may be learned from")
      }
      var draw = CounterRandom(seed: seed, purpose: "probe shots")
      training = (0..<shots).map { part in
        let (begin, end) = (part * training.count / shots, (part + 1) * training.count / shots)
        return training[begin + draw.below(end - begin)]
      }
    }
    guard !training.isEmpty, !heldOut.isEmpty else {
      throw .invalid("\(cases.count) labelled slices cannot be divided into slices to learn from and held-out ones")
    }
    (self.training, self.heldOut) = (training, heldOut)
  }

  private static func blocks(of count: Int, _ random: inout CounterRandom) -> ([Int], [Int]) {
    let parts = count >= 24 ? 6 : count >= 8 ? 4 : 2
    let length = max(1, (count + parts - 1) / parts)
    let offset = count >= 8 ? random.below(2 * length) : random.below(2) * length
    func isHeldOut(_ slice: Int) -> Bool { (slice + offset) / length % 2 == 1 }
    let (all, out) = (0..<count, (0..<count).filter(isHeldOut))
    let training = all.filter { slice in
      if isHeldOut(slice) { return false }
      return count < 24 || ![slice - 1, slice + 1].contains { all.contains($0) && isHeldOut($0) }
    }
    return (training, out)
  }
}
