internal import Networks
internal import Platform
internal import Segmentation
internal import WeightFiles

/// The texts a model carries, and the model parts that are read from them.
enum ModelText {
  /// "architecture": the network's shape.
  static func architecture(_ encoder: EncoderConfiguration, _ task: Model.Task?) -> JSON {
    var object = JSONObject([("encoder", encoder.json)])
    if let task {
      object["taps"] = .integers(task.taps)
      object["heads"] = .integer(task.scheme.heads.count)
      object["mirror_axes"] = .integers(task.mirrorAxes)
    }
    return .object(object)
  }

  /// Most bytes of plans.json and dataset.json: real ones have some ten thousand.
  static let limit = 16 << 20

  /// Plan, dataset and labels of a segmenter. Throws: `.format` naming the text and the key, `.outOfMemory`.
  static func task(
    plans: String, dataset: String, configuration: String?, taps: [Int], mirrorAxes: [Int], in budget: MemoryBudget
  ) throws(MedDINOError) -> Model.Task {
    let parsing = MemoryCharge(budget, "parsed plans and dataset")
    try parsing.grow(by: JSON.largestGrowth * (plans.utf8.count + dataset.utf8.count))
    defer { withExtendedLifetime(parsing) {} }
    let plan = try Plan.parse(Array(plans.utf8), source: "plans")
    let description = try DatasetDescription.parse(Array(dataset.utf8), source: "dataset")
    let chosen = try plan.configuration(configuration)
    let scheme = try LabelScheme(description)
    guard Set(mirrorAxes).count == mirrorAxes.count, mirrorAxes.allSatisfy({ (0...1).contains($0) }) else {
      throw .format("mirror axes are \(mirrorAxes), expected distinct values of 0 and 1")
    }
    guard chosen.normalization.count == description.channelNames.count else {
      throw .shape("the plan normalises \(chosen.normalization.count) channels, the dataset has \(description.channelNames.count)")
    }
    // A label map stores these values: what does not fit a voxel can never be written.
    guard scheme.outputs.allSatisfy({ (0...Int(UInt16.max)).contains($0.value) }) else {
      throw .format("dataset: label values are \(scheme.outputs.map(\.value)), expected 0 to 65535")
    }
    return Model.Task(
      plan: plan, configuration: chosen, dataset: description, scheme: scheme, taps: taps, mirrorAxes: mirrorAxes, plansText: plans,
      datasetText: dataset)
  }

  /// The label table: what a model file says, else names from the dataset, colours from the palette, and codes from the dataset's
  /// "label_codes" or of known names.
  static func labels(_ task: Model.Task?, stored: String?) throws(MedDINOError) -> [ModelLabel] {
    guard let task else { return [] }
    let foreground = task.scheme.outputs.filter { $0.value != 0 }
    var plain = [ModelLabel(value: 0, name: "background")] + foreground.map { ModelLabel(value: $0.value, name: $0.name) }
    guard let stored else {
      try addCodes(&plain, try JSON.parse(task.datasetText, source: "dataset")["label_codes"])
      return plain
    }
    let list = (try JSON.parse(stored, source: "labels").arrayValue ?? []).compactMap(ModelLabel.init)
    guard list.map(\.value) == plain.map(\.value) else {
      throw .format("labels are \(list.map(\.value)), the dataset has \(plain.map(\.value))")
    }
    return list
  }

  /// `given`: an optional object of the dataset, not one of nnU-Net's: by label name ["SCT", "10200004"], or null for no code.
  private static func addCodes(_ labels: inout [ModelLabel], _ given: JSON?) throws(MedDINOError) {
    guard given == nil || given?.objectValue != nil else { throw .format("dataset: label_codes is not an object of codes by label name") }
    for index in labels.indices where labels[index].value != 0 {
      guard let own = given?[labels[index].name] else {
        labels[index].code = AnatomyCodes.code(labels[index].name)
        labels[index].codingScheme = labels[index].code.map { _ in AnatomyCodes.scheme }
        continue
      }
      if own.isNull { continue }
      let pair = own.arrayValue?.compactMap(\.stringValue) ?? []
      guard pair.count == 2, own.arrayValue?.count == 2, pair.allSatisfy({ !$0.isEmpty }) else {
        throw .format("dataset: label_codes of \"\(labels[index].name)\" is \(own.text()), expected [scheme, code] or null")
      }
      (labels[index].codingScheme, labels[index].code) = (pair[0], pair[1])
    }
  }

  static func metadata(_ encoder: EncoderConfiguration, _ task: Model.Task?, layout: String, licence: String, provenance: String)
    -> [String: String]
  {
    var result = [
      "architecture": architecture(encoder, task).text(), "layout": layout, "licence": licence, "provenance": provenance,
    ]
    if let task {
      result["plans"] = task.plansText
      result["dataset"] = task.datasetText
      result["configuration"] = task.configuration.name
    }
    return result
  }
}
