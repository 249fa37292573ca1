internal import Networks
public import Platform

extension Recipe {
  /// A recipe with its short names.
  public struct Preset: Sendable {
    public let name: String
    public let aliases: [String]
    /// One line for a person.
    public let summary: String
    fileprivate let make: @Sendable () -> Recipe
  }

  /// The trainers of the paper by their class names, then two of ours.
  public static let presets: [Preset] = [
    Preset(
      name: "meddinov3_base_primus_multiscale_Trainer", aliases: ["meddinov3", "meddinov3_multiscale"],
      summary: "CT-pretrained encoder, taps 2, 5, 8, 11; the default", make: { meddino("meddinov3_base_primus_multiscale_Trainer") }),
    Preset(
      name: "dinov3_base_primus_multiscale_Trainer", aliases: ["dinov3_multiscale"],
      summary: "natural-image DINOv3 without its register tokens, taps 2, 5, 8, 11",
      make: { natural("dinov3_base_primus_multiscale_Trainer", taps: multiScale) }),
    Preset(
      name: "dinov3_base_primus_Trainer", aliases: ["dinov3", "dinov3_single_scale"],
      summary: "natural-image DINOv3 without its register tokens, last block only",
      make: { natural("dinov3_base_primus_Trainer", taps: singleScale) }),
    Preset(
      name: "dinov3_base_primus_Trainer_scratch", aliases: ["scratch"], summary: "the same network from random weights",
      make: {
        var recipe = natural("dinov3_base_primus_Trainer_scratch", taps: singleScale)
        recipe.backboneLoading = .none
        recipe.encoderRate = 3e-4
        return recipe
      }),
    Preset(
      name: "dinov3_registers_multiscale", aliases: ["dinov3_registers"],
      summary: "ours: DINOv3 as released (registers, masked k bias, epsilon 1e-5, float32 RoPE), taps 2, 5, 8, 11",
      make: {
        var recipe = natural("dinov3_registers_multiscale", taps: multiScale)
        recipe.backboneLoading = .strict
        (recipe.encoder.storageTokens, recipe.encoder.maskKeyBias) = (4, true)
        (recipe.encoder.normEpsilon, recipe.encoder.ropePrecision) = (1e-5, .float32)
        return recipe
      }),
    Preset(
      name: "meddinov3_few_shot", aliases: ["few_shot"],
      summary: "ours: for a handful of cases; both rates 3e-5, 100 epochs of 50 iterations",
      make: {
        var recipe = meddino("meddinov3_few_shot")
        (recipe.decoderRate, recipe.encoderRate) = (3e-5, 3e-5)
        (recipe.epochs, recipe.iterations, recipe.validationIterations) = (100, 50, 10)
        return recipe
      }),
  ]

  /// Patch edges of the paper; a name may end in one of them, as in `meddinov3_896`.
  public static let publishedPatches = [640, 896]

  /// A recipe by class name or alias, with or without a patch edge. `-` counts as `_`.
  /// Throws: `.invalid` listing the names.
  public static func preset(_ name: String) throws(MedDINOError) -> Recipe {
    let wanted = String(name.map { $0 == "-" ? "_" : $0 })
    for preset in presets {
      for spelling in [preset.name] + preset.aliases {
        if wanted == spelling { return preset.make() }
        for patch in publishedPatches where wanted == "\(spelling)_\(patch)" {
          var recipe = preset.make()
          recipe.name += "_\(patch)"
          recipe.patch = patch
          return recipe
        }
      }
    }
    let names = presets.map { "\($0.name) (\($0.aliases.joined(separator: ", ")))" }.joined(separator: "; ")
    throw .invalid("recipe is \"\(name)\", expected one of \(names); each also with _640 or _896")
  }

  private static let multiScale = [2, 5, 8, 11]
  private static let singleScale = [11]

  private static func meddino(_ name: String) -> Recipe {
    var encoder = EncoderConfiguration()
    encoder.dropPathRate = 0.2
    return Recipe(name: name, encoder: encoder, taps: multiScale, backboneLoading: .strict)
  }

  /// The encoder of the official DINOv3 and scratch trainers: qkv bias without mask, no storage tokens, and still the epsilon and the
  /// bf16 RoPE of MedDINOv3. Source: model specification 1.12.
  private static func natural(_ name: String, taps: [Int]) -> Recipe {
    var encoder = EncoderConfiguration()
    (encoder.qkvBias, encoder.maskKeyBias, encoder.storageTokens) = (true, false, 0)
    encoder.dropPathRate = 0.2
    var recipe = Recipe(name: name, encoder: encoder, taps: taps, backboneLoading: .lenient)
    recipe.encoderRate = 1e-4
    return recipe
  }
}
