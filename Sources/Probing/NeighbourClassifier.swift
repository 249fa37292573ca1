internal import Glibc
internal import Platform
internal import Tensors

/// Votes of the patches whose tokens point most nearly the same way.
///
/// Each of the `neighbours` votes with the classes it consists of and with weight exp(cosine / temperature). Source: Wu et al.,
/// arXiv:1805.01978, section 3.4; Caron et al., DINO, arXiv:2104.14294, appendix F (k = 20, temperature 0.07).
struct NeighbourClassifier: PatchClassifier {
  private let bank: PatchBank
  private let neighbours: Int
  private let temperature: Double
  private let device: any DistillationDevice
  /// Unit tokens of the bank as the right factor of a product.
  private let packed: any PackedLinear
  private let workspace: Workspace
  /// Rows of similarities that exist at once.
  private static let rows = 256
  private static let shortest: Float = 1e-12

  /// Throws: `.outOfMemory`.
  init(_ bank: PatchBank, neighbours: Int, temperature: Double, device: any DistillationDevice) throws(MedDINOError) {
    let units = try Tensor(bank.tokens.shape, in: device.budget, "unit tokens")
    device.normalizeRows(bank.tokens, epsilon: Self.shortest, into: units)
    packed = try device.pack(weight: units, bias: nil, precision: .float32)
    (self.bank, self.neighbours, self.temperature, self.device) = (bank, min(neighbours, bank.count), temperature, device)
    workspace = Workspace(device.budget)
  }

  func scores(_ tokens: Tensor, control: RunControl) throws(MedDINOError) -> [Float] {
    let (patches, classes) = (tokens.shape[0], bank.classes)
    var result = [Float](repeating: 0, count: patches * classes)
    let units = try workspace.tensor("units", tokens.shape)
    device.normalizeRows(tokens, epsilon: Self.shortest, into: units)
    for begin in stride(from: 0, to: patches, by: Self.rows) {
      try control.check()
      let count = min(Self.rows, patches - begin)
      let cosines = try workspace.tensor("cosines", [count, bank.count])
      try device.linear(units.rows(begin..<begin + count), packed, into: cosines, .none)
      guard let values = cosines.floats.baseAddress else { continue }
      for row in 0..<count { vote(values + row * bank.count, &result, at: (begin + row) * classes) }
      withExtendedLifetime(cosines) {}
    }
    return result
  }

  private func vote(_ cosines: UnsafePointer<Float>, _ result: inout [Float], at place: Int) {
    // The nearest so far, falling; of equals the first stays before.
    var nearest: [(cosine: Float, row: Int)] = []
    nearest.reserveCapacity(neighbours + 1)
    var least = -Float.infinity
    for row in 0..<bank.count where cosines[row] > least || nearest.count < neighbours {
      var at = nearest.count
      while at > 0, nearest[at - 1].cosine < cosines[row] { at -= 1 }
      nearest.insert((cosines[row], row), at: at)
      if nearest.count > neighbours { nearest.removeLast() }
      if nearest.count == neighbours { least = nearest[neighbours - 1].cosine }
    }
    guard let best = nearest.first?.cosine else { return }
    var total = 0.0
    var votes = [Double](repeating: 0, count: bank.classes)
    for neighbour in nearest {
      let weight = exp(Double(neighbour.cosine - best) / temperature)
      total += weight
      for label in 0..<bank.classes { votes[label] += weight * Double(bank.shares[neighbour.row * bank.classes + label]) }
    }
    for label in 0..<bank.classes { result[place + label] = Float(votes[label] / total) }
  }
}
