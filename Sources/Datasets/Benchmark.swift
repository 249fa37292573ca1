/// A dataset of the MedDINOv3 paper. Source: pipeline specification 12.
public enum Benchmark: String, CaseIterable, Sendable {
  case amos22, btcv, kits23, lits

  /// Name of the people who know it.
  public var title: String {
    switch self {
    case .amos22: "AMOS22 (CT)"
    case .btcv: "BTCV"
    case .kits23: "KiTS23"
    case .lits: "LiTS"
    }
  }
  /// Folder name of the nnU-Net dataset: three digits and a name, those of the official scripts where they have one.
  public var datasetName: String {
    switch self {
    case .amos22: "Dataset218_AMOS2022_postChallenge_task1"
    case .btcv: "Dataset023_BTCV"
    case .kits23: "Dataset220_KiTS2023"
    case .lits: "Dataset003_Liver"
    }
  }
  /// Labelled CT volumes that were published.
  public var publishedCases: Int {
    switch self {
    case .amos22: 300
    case .btcv: 30
    case .kits23: 489
    case .lits: 131
    }
  }
  /// Reader that the plan must use; nil leaves the choice to planning.
  var reader: String? {
    switch self {
    case .amos22, .kits23: "NibabelIOWithReorient"
    case .btcv, .lits: nil
    }
  }
  var reference: String {
    switch self {
    case .amos22: "https://amos22.grand-challenge.org"
    case .btcv: "https://www.synapse.org/Synapse:syn3193805"
    case .kits23: "https://kits-challenge.org/kits23"
    case .lits: "https://competitions.codalab.org/competitions/17094, http://medicaldecathlon.com (Task03)"
    }
  }
}

/// Label names with their values in declaration order, and what the regions are written as.
struct BenchmarkLabels: Equatable, Sendable {
  struct Entry: Equatable, Sendable {
    let name: String
    let values: [Int]
    init(_ name: String, _ values: Int...) {
      self.name = name
      self.values = values
    }
  }
  var entries: [Entry]
  var regionsClassOrder: [Int]?

  init(_ entries: [Entry], regionsClassOrder: [Int]? = nil) {
    self.entries = entries
    self.regionsClassOrder = regionsClassOrder
  }

  static let btcv = BenchmarkLabels([
    .init("background", 0), .init("spleen", 1), .init("right kidney", 2), .init("left kidney", 3), .init("gallbladder", 4),
    .init("esophagus", 5), .init("liver", 6), .init("stomach", 7), .init("aorta", 8), .init("inferior vena cava", 9),
    .init("portal & splenic vein", 10), .init("pancreas", 11), .init("right adrenal gland", 12), .init("left adrenal gland", 13),
  ])
  /// Files hold 1 kidney, 2 tumour, 3 cyst; the three regions are nested. A cyst is a mass that is no tumour, hence the order.
  static let kits23 = BenchmarkLabels(
    [.init("background", 0), .init("kidney", 1, 2, 3), .init("masses", 2, 3), .init("tumor", 2)], regionsClassOrder: [1, 3, 2])
  static let lits = BenchmarkLabels([.init("background", 0), .init("liver", 1), .init("tumor", 2)])
  /// The liver with its tumours as one region: the paper does not say which of both it used.
  static let litsRegions = BenchmarkLabels(
    [.init("background", 0), .init("liver", 1, 2), .init("tumor", 2)], regionsClassOrder: [1, 2])
}
