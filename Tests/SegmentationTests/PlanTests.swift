import Platform
import Testing

@testable import Segmentation

@Suite struct PlanTests {
  private func message(_ replacements: [(String, String)], _ name: String? = "2d") -> String {
    do {
      _ = try testPlan(replacements).configuration(name)
      return "accepted"
    } catch { return "\(error)" }
  }

  @Test func inheritance() throws {
    let plan = try testPlan()
    let fine = try plan.configuration("2d_fine")
    #expect(fine.patchSize == [24, 20])
    #expect(fine.spacing == [0.5, 0.6])
    #expect(fine.batchSize == 12)
    #expect(fine.normalization == [.ct])
    #expect(fine.dataResampling == Plan.ResamplingRule(order: 3))
    #expect(fine.logitResampling == Plan.ResamplingRule(order: 1))
    #expect(fine.dataIdentifier == "nnUNetPlans_2d_fine")
    #expect(plan.intensityProperties[0]?.std == 80)
  }

  @Test func choosingWithoutAName() throws {
    #expect(message([], nil).contains("2d, 2d_fine"))
    let single = try testPlan([
      (#""2d_fine": {"inherits_from": "2d", "patch_size": [24, 20]"#, #""x": {"inherits_from": "2d", "patch_size": [4, 24, 20]"#)
    ])
    #expect(try single.configuration().name == "2d")
  }

  @Test func brokenPlansAreNamed() {
    #expect(message([], "2d_8").contains("is not in the plan, which has: 2d, 2d_fine, 3d"))
    #expect(message([], "3d").contains("three-dimensional"))
    #expect(message([(#""2d": {"#, #""2d": {"inherits_from": "2d_fine", "#)], "2d_fine").contains("2d_fine -> 2d -> 2d_fine"))
    #expect(
      message([(#""inherits_from": "2d", "patch_size": [24"#, #""inherits_from": "4d", "patch_size": [24"#)], "2d_fine").contains("\"4d\""))
    #expect(message([("CTNormalization", "MyNormalization")]).contains("MyNormalization"))
    #expect(message([(#""resampling_fn_data": "resample_data_or_seg_to_shape""#, #""resampling_fn_data": "mine""#)]).contains("mine"))
    #expect(message([(#""order": 3"#, #""order": 2"#)]).contains("spline order 2"))
    #expect(message([(#""transpose_forward": [0, 1, 2]"#, #""transpose_forward": [0, 1, 1]"#)]).contains("not a permutation"))
    #expect(message([(#""transpose_forward": [0, 1, 2]"#, #""transpose_forward": [2, 0, 1]"#)]).contains("does not undo"))
    #expect(message([(#""std": 80"#, #""std": "x""#)]).contains("std is missing"))
    #expect(message([(#""std": 80"#, #""std": NaN"#)]).contains("std is missing or not a finite"))
    #expect(message([("[0.8, 0.8]", "[0, 0.8]")]).contains("lengths above 0"))
    #expect(message([("[16, 12]", "[16, 99999999999]")]).contains("patch_size"))
    #expect(message([(#""use_mask_for_norm": [false]"#, #""use_mask_for_norm": [false, true]"#)]).contains("has 2 booleans"))
  }

  /// A value of another type is no reason to take the default.
  @Test func typesAreChecked() throws {
    for value in [#""8""#, "8.5", "0", "-1", "[8]", "true", "99999999999"] {
      #expect(message([(#""batch_size": 12"#, #""batch_size": \#(value)"#)]).contains("batch_size is \(value), expected a whole number"))
    }
    for value in [#""yes""#, "1"] {
      #expect(message([(#""batch_dice": true"#, #""batch_dice": \#(value)"#)]).contains("batch_dice is \(value), expected true or false"))
    }
    #expect(
      message([(#""data_identifier": "nnUNetPlans_2d""#, #""data_identifier": 5"#)]).contains("data_identifier is 5, expected a folder"))
    #expect(message([(#""order": 3"#, #""order": "3""#)]).contains(#"order is "3", expected 0, 1 or 3"#))
    #expect(message([(#""use_mask_for_norm": [false]"#, #""use_mask_for_norm": "no""#)]).contains("use_mask_for_norm is"))
    #expect(try testPlan([(#""batch_size": 12"#, #""batch_size": null"#)]).configuration("2d").batchSize == 2)
    #expect(try testPlan([(#""batch_size": 12"#, #""batch_size": 12.0"#)]).configuration("2d").batchSize == 12)
  }
}
