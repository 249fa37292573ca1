internal import Platform
internal import WeightFiles

/// Which cases of a benchmark the CT-pretrained encoder has seen: `leak-note.json` for programs, `leak-note.md` for people.
///
/// Source: demand and peers A3 (the paper's list of sources; the author's answer on test data).
struct LeakNote {
  let benchmark: Benchmark
  let cases: [BenchmarkCase]

  /// Names under which CT-3M lists the volumes of the benchmark.
  private var sources: [String] {
    switch benchmark {
    case .amos22: ["AMOS22"]
    case .btcv: ["BTCV"]
    case .kits23: ["KiTS"]
    case .lits: ["LiTS", "MSD Liver"]
    }
  }
  private var detail: String? {
    switch benchmark {
    case .amos22: nil
    case .btcv: nil
    case .kits23: "The list says KiTS without a year, so which of the 489 volumes were there is not known; all are counted as seen."
    case .lits: "LiTS and MSD Task03 are the same volumes, and both are listed."
    }
  }
  private var statement: String {
    "CT-3M, the set of CT slices that MedDINOv3's encoder was pretrained on, is built from public datasets, \(benchmark.title) among them. "
      + "Its list of volumes is not published, and its author says that test data were not kept out. Every volume of this dataset is "
      + "therefore counted as seen in pretraining: as an image, without labels."
  }
  private var consequence: String {
    "Results of an encoder pretrained on CT-3M measure how well it segments images it has seen. They are comparable with the paper's, "
      + "which have the same leak, and are no estimate for new patients. Training from scratch or from DINOv3's natural-image weights is "
      + "not affected."
  }

  var json: JSON {
    let training = cases.filter { $0.part != .test }.map(\.name)
    let test = cases.filter { $0.part == .test }.map(\.name)
    return .object(
      ("dataset", .string(benchmark.title)), ("pretraining_set", .string("CT-3M")),
      ("listed_as", .array(sources.map(JSON.string))), ("statement", .string(statement)), ("consequence", .string(consequence)),
      ("detail", detail.map(JSON.string) ?? .null), ("counted_as_seen", .array((training + test).map(JSON.string))),
      ("known_as_unseen", .array([])), ("affected_recipes", .array([.string("meddinov3_base_primus_multiscale_Trainer")])))
  }

  var text: String {
    let test = cases.filter { $0.part == .test }.count
    return """
      # Leak note: \(benchmark.title) and CT-3M

      \(statement)

      Listed in CT-3M as: \(sources.joined(separator: ", ")).\(detail.map { " " + $0 } ?? "")

      Cases of this folder counted as seen: all \(cases.count) (\(cases.count - test) labelled, \(test) test). Known as unseen: none.

      \(consequence)

      The names are in `leak-note.json`.

      """
  }

  func write(to folder: String) throws(MedDINOError) {
    try AtomicFile.write(Array((json.text(indent: 2) + "\n").utf8), to: folder + "/leak-note.json")
    try AtomicFile.write(Array(text.utf8), to: folder + "/leak-note.md")
  }
}
