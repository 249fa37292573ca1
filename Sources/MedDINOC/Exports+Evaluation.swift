public import CMedDINO
internal import Imaging
internal import MedDINO
internal import Platform
internal import Segmentation
internal import Tensors

// include/meddino.h, section 8.

private func defaultEvaluationOptions() -> meddino_evaluation_options {
  var o = meddino_evaluation_options()
  o.tolerance_mm = 1
  o.distances = 1
  o.ignore_label = Int32(MEDDINO_NO_LABEL)
  return o
}

@c @implementation public func meddino_evaluation_options_init(_ options: UnsafeMutablePointer<meddino_evaluation_options>?, _ size: Int) {
  initialize(options, size, defaultEvaluationOptions())
}

/// The caller's options, checked and copied.
private struct ParsedEvaluation {
  var options = EvaluationOptions()
  private var raw = defaultEvaluationOptions()
  private var cancellation: Cancellation?

  init(_ pointer: UnsafePointer<meddino_evaluation_options>?) throws(MedDINOError) {
    guard let pointer else { return }
    raw = try read(pointer, "options", defaults: raw)
    guard raw.tolerance_mm.isFinite, raw.tolerance_mm >= 0 else {
      throw .invalid("options.tolerance_mm is \(raw.tolerance_mm), expected 0 or more")
    }
    options.tolerance = raw.tolerance_mm
    options.measuresSurfaces = raw.distances != 0
    guard raw.ignore_label >= Int32(MEDDINO_NO_LABEL) else {
      throw .invalid("options.ignore_label is \(raw.ignore_label), expected a label value or MEDDINO_NO_LABEL")
    }
    options.ignoreLabel = raw.ignore_label == Int32(MEDDINO_NO_LABEL) ? nil : Int(raw.ignore_label)
    if raw.max_bytes > 0 { options.maxBytes = Int(clamping: raw.max_bytes) }
    if let cancel = raw.cancel { cancellation = try object(cancel, "options.cancel", Cancellation.self) }
    if let values = raw.values { try readStructures(values) }
  }

  private mutating func readStructures(_ values: UnsafePointer<Int32>) throws(MedDINOError) {
    guard (1...65536).contains(raw.structures) else { throw .invalid("options.structures is \(raw.structures), expected 1 to 65536") }
    var list: [LabelScheme.Region] = []
    var at = 0
    for index in 0..<raw.structures {
      let count = raw.counts.map { Int($0[index]) } ?? 1
      guard (1...65536).contains(count) else { throw .invalid("options.counts[\(index)] is \(count), expected 1 to 65536") }
      let members = (at..<at + count).map { Int(values[$0]) }
      guard !members.contains(0) else { throw .invalid("options.values: structure \(index) holds 0, the background") }
      list.append(.init(name: "structure \(index)", values: members, isList: count > 1))
      at += count
    }
    options.structures = list
  }

  var control: RunControl {
    let (progress, user) = (raw.progress, raw.progress_user)
    return RunControl(cancellation: cancellation) { fraction, stage in
      guard let progress else { return true }
      return stage.withCString { progress(user, fraction, $0) } == 0
    }
  }
}

/// The scores that the accessor copies out.
private final class EvaluationHandle: Sendable {
  let rows: [(structure: LabelScheme.Region, scores: Evaluation.Scores)]
  init(_ evaluation: Evaluation) {
    rows = evaluation.cases.flatMap { found in evaluation.structures.map { ($0, evaluation.scores(found, $0)) } }
  }
}

@c @implementation public func meddino_evaluate(
  _ context: OpaquePointer?, _ reference: UnsafePointer<meddino_volume>?, _ prediction: UnsafePointer<meddino_volume>?,
  _ options: UnsafePointer<meddino_evaluation_options>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> meddino_status {
  out?.pointee = nil
  return guarded { () throws(MedDINOError) in
    let out = try required(out, "out")
    let context = try object(context, "context", Context.self)
    let expected = try volume(reference, "reference", .input)
    let predicted = try volume(prediction, "prediction", .input)
    let parsed = try ParsedEvaluation(options)
    // The evaluation is of its one case alone: structures that were not named are those found in it.
    let found = try CaseEvaluation(
      reference: expected, prediction: predicted, options: parsed.options, pool: context.pool, in: context.budget, control: parsed.control)
    out.pointee = handle(EvaluationHandle(Evaluation([found], options: parsed.options)))
  }
}

@c @implementation public func meddino_evaluation_count(_ evaluation: OpaquePointer?) -> Int {
  existing(evaluation, EvaluationHandle.self)?.rows.count ?? 0
}

@c @implementation public func meddino_evaluation_get(
  _ evaluation: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<meddino_structure_scores>?
) -> meddino_status {
  guarded { () throws(MedDINOError) in
    let rows = try object(evaluation, "evaluation", EvaluationHandle.self).rows
    guard rows.indices.contains(index) else { throw .invalid("index is \(index), the evaluation has \(rows.count) structures") }
    let (structure, scores) = rows[index]
    var result = meddino_structure_scores()
    result.value = Int32(clamping: structure.values.first ?? 0)
    result.values = Int32(clamping: structure.values.count)
    result.true_positives = Int64(scores.overlap.truePositives)
    result.false_positives = Int64(scores.overlap.falsePositives)
    result.false_negatives = Int64(scores.overlap.falseNegatives)
    result.true_negatives = Int64(scores.overlap.trueNegatives)
    result.dice = scores.dice
    result.iou = scores.iou
    result.nsd = scores.surfaces.surfaceDice
    result.hd95_mm = scores.surfaces.hausdorff95
    try write(result, to: out, "out")
  }
}

@c @implementation public func meddino_evaluation_release(_ evaluation: OpaquePointer?) { release(evaluation, EvaluationHandle.self) }
