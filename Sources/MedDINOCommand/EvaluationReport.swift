import Imaging
import MedDINO
import Platform
import Reports
import Segmentation

/// Puts an evaluation and pictures of its worst cases on a page.
struct EvaluationReport {
  let evaluation: Evaluation
  let pairs: [CasePair]
  let ending: String
  let images: String?
  let worst: Int
  let settings: [(String, String)]

  private var isPlain: Bool { evaluation.structures.allSatisfy { $0.values.count == 1 } }

  func write(to path: String, context: Context, control: RunControl) throws {
    var page = EvaluationPage()
    page.title = "Segmentation evaluation"
    page.subtitle = "\(evaluation.cases.count) case\(evaluation.cases.count == 1 ? "" : "s"), " + utcNow()
    page.hasSurfaces = evaluation.options.measuresSurfaces
    page.tolerance = evaluation.options.tolerance
    page.structures = structures()
    page.cases = evaluation.cases.map { found in
      let scores = evaluation.structures.map { evaluation.scores(found, $0) }
      return .init(
        name: found.name, dice: scores.map(\.dice), surfaceDice: scores.map(\.surfaces.surfaceDice),
        hausdorff95: scores.map(\.surfaces.hausdorff95), warnings: found.warnings)
    }
    page.legend = legend()
    for index in page.worstFirst.prefix(worst) where !page.cases[index].meanDice.isNaN {
      page.pictures.append(try picture(index, page.cases[index], context, control))
    }
    page.settings = settings + (images.map { [("Images", $0)] } ?? []) + ownSettings
    try page.write(to: path)
  }

  private func structures() -> [EvaluationPage.Structure] {
    evaluation.structures.enumerated().map { index, structure in
      let scores = evaluation.cases.map { evaluation.scores($0, structure) }
      func summary(_ value: (Evaluation.Scores) -> Double) -> EvaluationPage.Summary {
        let found = Evaluation.Statistics(scores.map(value))
        return .init(mean: found.mean, deviation: found.deviation, count: found.count)
      }
      return .init(
        name: structure.name, key: structure.description, colour: LabelPalette.colour(of: isPlain ? structure.values[0] : index + 1),
        dice: summary(\.dice), diceWhereReferenced: summary(\.diceWhereReferenced), iou: summary(\.iou),
        surfaceDice: summary(\.surfaces.surfaceDice), hausdorff95: summary(\.surfaces.hausdorff95))
    }
  }

  /// What colours mean in the pictures: regions overlap, so there the plain values are named.
  private func legend() -> [(name: String, colour: Colour)] {
    if isPlain { return evaluation.structures.map { ($0.name, LabelPalette.colour(of: $0.values[0])) } }
    return Set(evaluation.structures.flatMap(\.values)).sorted().map { ("label \($0)", LabelPalette.colour(of: $0)) }
  }

  private func picture(_ index: Int, _ row: EvaluationPage.Case, _ context: Context, _ control: RunControl) throws -> PagePicture {
    let pair = pairs[index]
    try control.begin("pictures", from: 1, to: 1)
    let reader = evaluation.options.reader
    do {
      let reference = try VolumeFile.read(pair.reference, reader: reader, in: context.budget, control: control.still(at: 1))
      let prediction = try VolumeFile.read(pair.prediction, reader: reader, in: context.budget, control: control.still(at: 1))
      let image = try images.map {
        try VolumeFile.read(imagePath($0, pair.name), reader: reader, in: context.budget, control: control.still(at: 1))
      }
      let picture = try ComparisonPicture(
        reference: reference, prediction: prediction, image: image, in: context.budget, control: control.still(at: 1))
      let lowest = zip(evaluation.structures, row.dice).filter { !$0.1.isNaN }.sorted { $0.1 < $1.1 }.prefix(3)
      let details = lowest.map { "\($0.0.name) \(DecimalText.fixed($0.1, digits: 3))" }.joined(separator: ", ")
      return .init(
        title: "\(pair.name) – mean Dice \(DecimalText.fixed(row.meanDice, digits: 3))",
        caption: "Slice at z = \(DecimalText.fixed(picture.z, digits: 1)) mm, \(picture.differing) voxels differ. Lowest Dice: \(details).",
        png: picture.png)
    } catch let error as MedDINOError { throw error.kind == .cancelled ? error : error.within("case \(pair.name)") }
  }

  /// The image of a case: the file itself, or in a folder the first channel as nnU-Net names it, or the same name.
  private func imagePath(_ images: String, _ name: String) throws -> String {
    if FileKind.of(images) == .regular, pairs.count == 1 { return images }
    let stem = name.hasSuffix(ending) ? String(name.dropLast(ending.count)) : name
    let candidates = ["\(images)/\(stem)_0000\(ending)", "\(images)/\(name)"]
    guard let found = candidates.first(where: { FileKind.of($0) == .regular }) else {
      throw MedDINOError.io("--images \(images): neither \(stem)_0000\(ending) nor \(name)")
    }
    return found
  }

  private var ownSettings: [(String, String)] {
    let options = evaluation.options
    return [
      ("NSD tolerance", options.measuresSurfaces ? "\(options.tolerance) mm, all structures" : "not measured"),
      ("Ignore label", options.ignoreLabel.map { "\($0): voxels with it in the reference do not count in Dice and IoU" } ?? "none"),
      ("Reader", options.reader.rawValue),
      (
        "Distances",
        "exact Euclidean distances between edge voxels (6 neighbours) on the stored grid; HD95 is the larger of both directions"
      ),
      ("Made by", "meddino \(Build.version)"),
    ]
  }
}
