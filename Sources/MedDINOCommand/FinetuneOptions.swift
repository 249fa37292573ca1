import ArgumentParser
import MedDINO
import Platform

/// The model that a training starts from, and what is opened of a path that offers a choice.
struct StartOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Weights to start from: a backbone of any layout, or a model; random without.", valueName: "file"),
    completion: .file())
  var backbone: String?
  @Option(
    help: ArgumentHelp(
      "With --backbone: folds of an nnU-Net result folder that it is opened from, comma-separated; all by default.", valueName: "list"))
  var folds: String?
  @Option(help: "With --backbone: checkpoint of an nnU-Net result folder, final or best.", completion: .list(["final", "best"]))
  var checkpoint: String?
  @Option(
    help: "With --backbone: RoPE arithmetic of a checkpoint that does not say, bf16 (as MedDINOv3) or f32.",
    completion: .list(["bf16", "f32"]))
  var rope: String?

  /// Throws: `.invalid` for an option that would have no effect.
  func check() throws {
    guard backbone == nil else { return }
    for (option, value) in [("--folds", folds), ("--checkpoint", checkpoint), ("--rope", rope)] where value != nil {
      throw MedDINOError.invalid("\(option) has an effect only together with --backbone")
    }
  }

  /// nil for random weights. The configuration of a start folder is the one that it names.
  func open(_ context: Context) throws -> Model? {
    var opening = OpeningOptions()
    (opening.folds, opening.checkpoint, opening.configuration, opening.rope) = (folds, checkpoint, nil, rope)
    let options = try opening.options()
    return try backbone.map { try Model.open($0, options: options, context: context) }
  }
}

/// Whole volumes after the training.
struct VolumeOptions: ParsableArguments {
  @Flag(help: "Only segment and evaluate the validation cases of the run in --output; no training.") var validateOnly = false
  @Flag(help: "No whole volumes after the training.") var noValidation = false
  @Option(
    help: ArgumentHelp("Raw dataset with the images of the validation cases; where it was planned by default.", valueName: "folder"),
    completion: .directory)
  var raw: String?
  @Option(help: "Model that is validated: best or final; best by default where there is one.", completion: .list(["best", "final"]))
  var validateModel: String?

  func options() throws -> FoldValidation.Options {
    guard !(validateOnly && noValidation) else { throw MedDINOError.invalid("--validate-only and --no-validation exclude each other") }
    var options = FoldValidation.Options()
    options.raw = raw
    if let validateModel {
      guard let choice = FoldValidation.Choice(rawValue: validateModel) else {
        throw MedDINOError.invalid("--validate-model is \"\(validateModel)\", expected best or final")
      }
      options.choice = choice
    }
    return options
  }
}
