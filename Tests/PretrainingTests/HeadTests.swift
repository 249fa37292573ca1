import Networks
import Platform
import Pretraining
import Tensors
import TestSupport
import Testing

@Suite struct HeadTests {
  @Test func layersAndNamesAreTheOfficialOnes() {
    var head = HeadConfiguration()
    (head.prototypes, head.bottleneck, head.hidden) = (7, 3, 5)
    #expect(
      head.parameters(dim: 4).map(\.name) == [
        "mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias", "mlp.4.weight", "mlp.4.bias", "last_layer.weight",
      ])
    #expect(head.parameters(dim: 4).map(\.shape) == [[5, 4], [5], [5, 5], [5], [3, 5], [3], [7, 3]])
    head.layers = 1
    #expect(head.parameters(dim: 4).map(\.name) == ["mlp.weight", "mlp.bias", "last_layer.weight"])
  }

  @Test func sizesOutOfRangeAreNamed() throws {
    let budget = MemoryBudget()
    for (change, word) in [
      (\HeadConfiguration.prototypes, "prototypes"), (\.bottleneck, "bottleneck"), (\.hidden, "hidden"), (\.layers, "layers"),
    ] {
      var head = HeadConfiguration()
      head[keyPath: change] = 0
      let error = #expect(throws: MedDINOError.self) {
        try ProjectionHead(head, dim: 4, parameters: ParameterTable(), prefix: "dino_head.", in: budget)
      }
      #expect(error?.kind == .invalid)
      #expect(error?.message.contains("dino_head") == true && error?.message.contains(word) == true)
    }
  }
}
