internal import Imaging
public import Platform
public import Segmentation
internal import WeightFiles

/// The postprocessing that a model carries in its metadata, in the form of nnU-Net's `postprocessing.json`.
extension Model {
  static let postprocessingKey = "postprocessing"

  /// nil when the model carries none. Throws: `.format`, `.unsupported` when it cannot be read.
  public func postprocessing() throws(MedDINOError) -> Postprocessing? {
    guard let text = metadata[Self.postprocessingKey] else { return nil }
    return try Postprocessing.parse(Array(text.utf8), source: "metadata \"\(Self.postprocessingKey)\"")
  }

  /// The same model with this postprocessing. One without steps says that a search found none that helps.
  /// Throws: `.unsupported` for a backbone, `.invalid` for values that its label maps cannot hold.
  public func carrying(_ postprocessing: Postprocessing) throws(MedDINOError) -> Model {
    guard let task else { throw noDecoder }
    let known = task.scheme.outputs.map(\.value)
    for step in postprocessing.steps where !step.values.contains(where: known.contains) {
      throw .invalid("postprocessing names the labels \(step.values), the model writes \(known)")
    }
    var metadata = metadata
    metadata[Self.postprocessingKey] = JSON.object(JSONObject(postprocessing.entries)).text()
    return Model(context: context, encoder: encoder, task: task, labels: labels, metadata: metadata, members: members)
  }

  /// Throws: `.state` when it is asked for and the model carries none, `.invalid` together with a part of the result.
  func chosenPostprocessing(_ options: RunOptions) throws(MedDINOError) -> Postprocessing? {
    guard options.appliesPostprocessing else { return nil }
    guard let found = try postprocessing() else { throw .state("postprocessing is asked for, the model carries none") }
    guard options.segmentation.regionOfInterest == nil, options.segmentation.labelSubset == nil else {
      throw .invalid("postprocessing needs the whole label map: it cannot be combined with a region of interest or a label subset")
    }
    return found
  }

  /// Changes the finished labels and what the report says of them.
  func postprocess(
    _ labels: Volume, _ postprocessing: Postprocessing, _ report: inout SegmentationReport, in budget: MemoryBudget, control: RunControl
  ) throws(MedDINOError) {
    guard try postprocessing.apply(to: labels, pool: context.pool, in: budget, control: control) > 0 else { return }
    let found = try LabelStatistics.of(labels, control: control)
    for index in report.labels.indices {
      let now = found.first { $0.label == report.labels[index].value }
      // The report's volumes come from the image's spacing, which the label volume need not carry.
      let before = report.labels[index].voxels
      let share = before == 0 ? 0 : Double(now?.voxels ?? 0) / Double(before)
      report.labels[index].millilitres *= share
      report.labels[index].voxels = now?.voxels ?? 0
      report.labels[index].touchesBorder = now?.touchesBorder ?? false
    }
  }
}
