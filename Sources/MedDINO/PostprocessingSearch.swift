public import Imaging
public import Platform
public import Segmentation
public import WeightFiles

/// Finds out from predictions with references which "keep the largest component" steps help, as nnU-Net does.
///
/// First the union of the whole foreground is tried, then each label or region on top of what was accepted.
/// Source: pipeline specification 11.3.
public struct PostprocessingSearch: Sendable {
  public let postprocessing: Postprocessing
  /// The predictions as they are.
  public let before: Evaluation
  /// After the accepted steps.
  public let after: Evaluation

  /// nnU-Net's `postprocessing.json`; write it with an indent of 4.
  public var json: JSON {
    .object(
      JSONObject(
        [("input_folder", .object(JSONObject(before.meansJSON))), ("postprocessed", .object(JSONObject(after.meansJSON)))]
          + postprocessing.entries))
  }

  /// Reads every case a few times: for plain labels three times, for regions once more per region.
  ///
  /// `output`: a folder that receives `postprocessing.json` and `postprocessed/` with the changed predictions and their
  /// `summary.json`; nil writes nothing.
  /// Throws: `.invalid` without structures in the options, and what `Evaluation.run` throws; `.io`.
  public static func run(
    _ pairs: [CasePair], options: EvaluationOptions, output: String? = nil, context: Context, control: RunControl = RunControl()
  ) throws(MedDINOError) -> PostprocessingSearch {
    guard let structures = options.structures, !structures.isEmpty, !pairs.isEmpty else {
      throw .invalid("a search for postprocessing needs at least one case and one label or region")
    }
    var options = options
    options.measuresSurfaces = false
    let folder = output.map { $0 + "/postprocessed" }
    if let folder { try makeFolder(folder) }
    let search = Search(pairs: pairs, options: options, context: context, control: control)
    let overlapping = Set(structures.flatMap(\.values)).count < structures.reduce(0) { $0 + $1.values.count }
    let rounds = Double(2 + (structures.count < 2 ? 0 : overlapping ? structures.count : 1))
    let union = Postprocessing.Step(values: Set(structures.flatMap(\.values)).sorted(), isList: true)
    let first = try search.evaluate([[], [union]], span: 0...1 / rounds)
    let (before, joined) = (first[0], first[1])
    var accepted: [Postprocessing.Step] = []
    var current = before
    if joined.foregroundMean.dice > before.foregroundMean.dice, !zip(joined.means, before.means).contains(where: { $0.dice < $1.dice }) {
      (accepted, current) = ([union], joined)
    }
    if structures.count > 1 {
      let steps = structures.map { Postprocessing.Step(values: $0.values, isList: $0.isList) }
      // Structures that share no value do not touch each other's scores: all are tried in one round.
      let groups = overlapping ? steps.indices.map { [$0] } : [Array(steps.indices)]
      for (round, group) in groups.enumerated() {
        let (from, to) = (Double(1 + round) / rounds, Double(2 + round) / rounds)
        let tried = try search.evaluate(group.map { accepted + [steps[$0]] }, span: from...to)
        for (index, result) in zip(group, tried) where result.means[index].dice > current.means[index].dice {
          accepted.append(steps[index])
          if overlapping { current = result }
        }
      }
    }
    let postprocessing = Postprocessing(steps: accepted)
    let after = try search.evaluate([accepted], span: (rounds - 1) / rounds...1, writingTo: folder)[0]
    let result = PostprocessingSearch(postprocessing: postprocessing, before: before, after: after)
    if let output, let folder {
      try AtomicFile.write(Array(after.summary.text(indent: 4).utf8), to: folder + "/summary.json")
      try AtomicFile.write(Array(result.json.text(indent: 4).utf8), to: output + "/postprocessing.json")
    }
    return result
  }
}

/// Overlaps of all cases after different lists of steps.
private struct Search {
  let pairs: [CasePair]
  let options: EvaluationOptions
  let context: Context
  let control: RunControl

  /// One evaluation per variant. `writingTo`: a folder for the changed predictions of the only variant.
  func evaluate(
    _ variants: [[Postprocessing.Step]], span: ClosedRange<Double>, writingTo folder: String? = nil
  ) throws(MedDINOError) -> [Evaluation] {
    var cases = [[CaseEvaluation]](repeating: [], count: variants.count)
    let part = (span.upperBound - span.lowerBound) / Double(pairs.count)
    for (index, pair) in pairs.enumerated() {
      try control.begin("postprocess", from: span.lowerBound + part * Double(index), to: span.lowerBound + part * Double(index + 1))
      do throws(MedDINOError) {
        for (place, found) in try evaluate(pair, variants, folder).enumerated() { cases[place].append(found) }
      } catch { throw error.kind == .cancelled ? error : error.within("case \(pair.name)") }
    }
    return cases.map { Evaluation($0, options: options) }
  }

  private func evaluate(
    _ pair: CasePair, _ variants: [[Postprocessing.Step]], _ folder: String?
  ) throws(MedDINOError) -> [CaseEvaluation] {
    let budget = options.maxBytes.map { MemoryBudget(limit: $0, parent: context.budget) } ?? context.budget
    let reference = try VolumeFile.read(pair.reference, reader: options.reader, in: budget, control: control.still(at: 0))
    let image = try VolumeFile.readImage(pair.prediction, reader: options.reader, in: budget, control: control.still(at: 0.2))
    var result: [CaseEvaluation] = []
    for (index, steps) in variants.enumerated() {
      let still = control.still(at: 0.4 + 0.6 * Double(index) / Double(variants.count))
      // The last variant may work on the volume itself.
      let labels = index == variants.count - 1 || steps.isEmpty ? image.volume : try image.volume.packedCopy(in: budget)
      try Postprocessing(steps: steps).apply(to: labels, pool: context.pool, in: budget, control: still)
      var found = try CaseEvaluation(
        reference: reference, prediction: labels, options: options, pool: context.pool, in: budget, control: still)
      found.name = pair.name
      found.predictionFile = folder.map { $0 + "/" + pair.name } ?? pair.prediction
      found.referenceFile = pair.reference
      if let folder { try VolumeFile.write(image.inFileOrder(labels), to: folder + "/" + pair.name, control: still) }
      result.append(found)
    }
    return result
  }
}

extension Postprocessing {
  /// Applies the steps to label files: every file of a folder into another folder, or one file into another.
  ///
  /// `ending`: of the folder's files; nil: the one that all of its volumes have.
  /// Returns the number of files. Throws: `.io`, `.format`, `.invalid` naming the file; `.cancelled`.
  public func apply(
    to input: String, writingTo output: String, ending: String? = nil, reader: VolumeFile.Reader = .simpleITK, context: Context,
    control: RunControl = RunControl()
  ) throws(MedDINOError) -> Int {
    guard FileKind.of(input) == .directory else {
      try apply(file: input, output, reader, context, control.still(at: 0))
      return 1
    }
    let common = ending == nil ? try VolumeFile.commonEnding(in: input) : nil
    guard let ending = ending ?? common else { throw .invalid("\(input): no file ending in \(VolumeFile.endingsInWords)") }
    let names = try folderEntries(input).filter { $0.hasSuffix(ending) && FileKind.of(input + "/" + $0) == .regular }
    guard !names.isEmpty else { throw .invalid("\(input): no file ending in \(ending)") }
    try makeFolder(output)
    for (index, name) in names.enumerated() {
      try control.begin("postprocess", from: Double(index) / Double(names.count), to: Double(index + 1) / Double(names.count))
      do throws(MedDINOError) {
        try apply(file: input + "/" + name, output + "/" + name, reader, context, control.still(at: 0))
      } catch { throw error.kind == .cancelled ? error : error.within("case \(name)") }
    }
    return names.count
  }

  private func apply(
    file: String, _ output: String, _ reader: VolumeFile.Reader, _ context: Context, _ control: RunControl
  ) throws(MedDINOError) {
    let image = try VolumeFile.readImage(file, reader: reader, in: context.budget, control: control)
    try apply(to: image.volume, pool: context.pool, in: context.budget, control: control)
    try VolumeFile.write(image.inFileOrder(image.volume), to: output, control: control)
  }
}
