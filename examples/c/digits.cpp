// The core from C++: objects that clean up after themselves, errors as exceptions.
//
//     for f in csrc/*.c; do cc -O2 -c $f; done
//     c++ -std=c++17 -O2 -Icsrc examples/c/digits.cpp *.o -o digits -pthread -lm && ./digits digits.txt
//
// digits.c tells where the file comes from, and does more with it.
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "pycnn.h"

// ---------------------------------------------------------------- sixty lines to take along

namespace nn {

inline void check(int status)
{
    if (status != PYCNN_OK) {
        throw std::runtime_error(pycnn_strerror(status));
    }
}

// A C pointer that knows its *_destroy.
template <class T, void (*destroy)(T *)> struct Destroyer {
    void operator()(T *p) const { destroy(p); }
};
template <class T, void (*destroy)(T *)> using Owner = std::unique_ptr<T, Destroyer<T, destroy>>;

class Network {
public:
    Network(std::size_t inputs, const std::vector<pycnn_layer_spec> &layers, int loss,
            std::uint64_t seed, std::size_t batch = 256)
        : seed_(seed)
    {
        pycnn_network *net = nullptr;
        check(pycnn_network_create(&net, inputs, layers.data(), layers.size(), loss, 0));
        net_.reset(net);
        pycnn_workspace *workspace = nullptr;
        check(pycnn_workspace_create(&workspace, net, batch, PYCNN_BACKWARD));
        workspace_.reset(workspace);
        theta_.resize(pycnn_network_theta_size(net));
        check(pycnn_initialize(theta_.data(), theta_.size(), net, seed));
    }

    std::size_t outputs() const { return pycnn_network_outputs(net_.get()); }
    std::vector<double> &theta() { return theta_; }

    // Goes on from where the last call ended: optimizer, its memory and the epochs are kept.
    pycnn_totals fit(const pycnn_dataset &data, std::size_t epochs, double learning_rate)
    {
        std::vector<std::size_t> order(data.rows);
        slots_.resize(pycnn_optimizer_slots(&adam_) * pycnn_network_parameter_count(net_.get()));
        pycnn_totals totals{};
        for (std::size_t i = 0; i < epochs; i++, epoch_++) {
            pycnn_training_init(&state_);
            const std::uint64_t key = pycnn_dropout_key(seed_, epoch_);
            totals = pycnn_totals{};
            state_.epochs = 1, state_.learning_rate = learning_rate, state_.updates = updates_;
            state_.order = order.data(), state_.dropout_keys = &key, state_.totals = &totals;
            state_.optimizer = &adam_, state_.slots = slots_.data();
            check(pycnn_permutation(order.data(), data.rows, seed_, epoch_));
            std::size_t steps = 0;
            check(pycnn_train(&steps, theta_.data(), theta_.size(), &state_, net_.get(),
                              workspace_.get(), &data, SIZE_MAX));
            updates_ = state_.updates;
        }
        return totals;
    }

    pycnn_totals evaluate(const pycnn_dataset &data)
    {
        pycnn_totals totals{};
        check(pycnn_evaluate(&totals, net_.get(), workspace_.get(), theta_.data(), theta_.size(),
                             &data));
        return totals;
    }

private:
    static pycnn_optimizer adam()
    {
        pycnn_optimizer made;
        pycnn_optimizer_init(&made, PYCNN_ADAM);
        return made;
    }

    Owner<pycnn_network, pycnn_network_destroy> net_;
    Owner<pycnn_workspace, pycnn_workspace_destroy> workspace_;
    std::vector<double> theta_, slots_;
    pycnn_optimizer adam_ = adam();
    pycnn_training state_{};
    std::uint64_t seed_;
    std::size_t epoch_ = 0, updates_ = 0;
};

} // namespace nn

// ---------------------------------------------------------------- what it is for

static pycnn_layer_spec dense(std::size_t units, int activation)
{
    pycnn_layer_spec layer{};
    layer.kind = PYCNN_DENSE, layer.units = units, layer.activation = activation;
    return layer;
}

int main(int argc, char **argv)
try {
    constexpr std::size_t pixels = 64;
    std::vector<double> x;
    std::vector<std::size_t> label;
    std::ifstream file(argc == 2 ? argv[1] : "");
    for (double value; file >> value;) {
        if ((x.size() + label.size()) % (pixels + 1) < pixels) {
            x.push_back(value / 16);
        } else {
            label.push_back(static_cast<std::size_t>(value));
        }
    }
    if (label.size() < 100) {
        throw std::invalid_argument("usage: digits FILE, see digits.c");
    }
    pycnn_dataset training{}, test{}; // the last fifth is in other hands than what is learned
    training.rows = label.size() * 8 / 10, training.x = x.data(), training.label = label.data();
    test.rows = label.size() - training.rows, test.x = x.data() + training.rows * pixels;
    test.label = label.data() + training.rows;

    nn::Network net(pixels, {dense(32, PYCNN_RELU), dense(10, PYCNN_SOFTMAX)},
                    PYCNN_CATEGORICAL_CROSSENTROPY, 1);
    for (int i = 0; i < 4; i++) {
        const pycnn_totals totals = net.fit(training, 5, 0.003);
        std::cout << "loss " << totals.loss / totals.weight << '\n';
    }
    const pycnn_totals score = net.evaluate(test);
    const double accuracy = score.correct / score.weight;
    std::cout << "accuracy " << accuracy << (accuracy > 0.85 ? ": learned\n" : ": not learned\n");
    return accuracy > 0.85 ? 0 : 1;
} catch (const std::exception &error) {
    std::cerr << "digits: " << error.what() << '\n';
    return 1;
}
