#include "serve/http_client.hpp"

#include "kernels/base/error.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

namespace longreach::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using beast::error_code;

constexpr std::size_t kPieceBytes = 16384;
constexpr std::size_t kMostRefusalBytes = 65536;  ///< Of the body of an answer that is no success.
constexpr std::size_t kMostBodyBytes = std::size_t{1} << 24;  ///< Of an answer to a GET.
constexpr std::chrono::milliseconds kTick{50};

/// As it stands in a URL: an address of IPv6 has brackets there.
std::string authority_of(const HttpPeer& peer) {
  const bool is_v6 = peer.host.find(':') != peer.host.npos;
  return is_v6 ? fmt::format("[{}]:{}", peer.host, peer.port)
               : fmt::format("{}:{}", peer.host, peer.port);
}

/// One request on a connection of its own.
class ClientRequest final : public std::enable_shared_from_this<ClientRequest> {
 public:
  enum class Patience { kLimited, kEndless };

  ClientRequest(asio::io_context& io, tcp::resolver::results_type endpoints,
                http::request<http::string_body> request, HttpStreamHandlers handlers,
                Patience patience)
      : stream_(io),
        endpoints_(std::move(endpoints)),
        request_(std::move(request)),
        handlers_(std::move(handlers)),
        patience_(patience) {
    // Beast 1.74 takes none for 0 where a length is given.
    parser_.body_limit(std::numeric_limits<std::uint64_t>::max());
  }

  void start() {
    stream_.expires_after(HttpClient::kPatience);
    stream_.async_connect(endpoints_,
                          [self = shared_from_this()](error_code error, const tcp::endpoint&) {
                            if (error) return self->end("cannot connect", error);
                            self->write();
                          });
  }

 private:
  void limit_time() {
    if (patience_ == Patience::kLimited) {
      stream_.expires_after(HttpClient::kPatience);
    } else {
      stream_.expires_never();
    }
  }

  void write() {
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    limit_time();
    http::async_write(stream_, request_,
                      [self = shared_from_this()](error_code error, std::size_t) {
                        // A server may refuse a request before it has read all of it.
                        self->write_error_ = error;
                        self->read_head();
                      });
  }

  void read_head() {
    limit_time();
    http::async_read_header(stream_, buffer_, parser_,
                            [self = shared_from_this()](error_code error, std::size_t) {
                              if (error && self->write_error_) {
                                return self->end("cannot send the request", self->write_error_);
                              }
                              if (error) return self->end("no answer", error);
                              self->status_ = self->parser_.get().result_int();
                              if (self->parser_.is_done()) return self->end({}, {});
                              self->read_body();
                            });
  }

  void read_body() {
    auto& body = parser_.get().body();
    body.data = piece_.data();
    body.size = piece_.size();
    limit_time();
    http::async_read_some(
        stream_, buffer_, parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_body(error); });
  }

  void on_body(error_code error) {
    const std::size_t n_bytes = piece_.size() - parser_.get().body().size;
    const std::string_view bytes(piece_.data(), n_bytes);
    if (status_ != 200) {
      refusal_ += bytes.substr(0, kMostRefusalBytes - refusal_.size());
      if (refusal_.size() == kMostRefusalBytes) return end({}, {});
    } else if (n_bytes > 0 && !handlers_.take(bytes)) {
      return leave();
    }
    if (error && error != http::error::need_buffer) return end("the answer broke off", error);
    if (parser_.is_done()) return end({}, {});
    read_body();
  }

  void end(std::string_view what, error_code error) {
    leave();
    handlers_.end({what.empty() ? std::string() : fmt::format("{}: {}", what, error.message()),
                   status_, std::move(refusal_)});
  }

  void leave() { stream_.close(); }

  beast::tcp_stream stream_;
  tcp::resolver::results_type endpoints_;
  http::request<http::string_body> request_;
  HttpStreamHandlers handlers_;
  Patience patience_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::array<char, kPieceBytes> piece_{};
  error_code write_error_;
  unsigned status_ = 0;
  std::string refusal_;
};

tcp::resolver::results_type endpoints_of(asio::io_context& io, const HttpPeer& peer) {
  error_code error;
  tcp::resolver resolver(io);
  auto found =
      resolver.resolve(peer.host, fmt::to_string(peer.port), tcp::resolver::numeric_service, error);
  if (error || found.empty()) {
    base::input_error("{}: the host is not found: {}", peer.url(), error.message());
  }
  return found;
}

}  // namespace

std::string HttpPeer::url() const { return "http://" + authority_of(*this); }

class HttpClient::Impl {
 public:
  explicit Impl(const HttpPeer& peer) : peer_(peer), endpoints_(endpoints_of(io_, peer)) {}

  HttpEnd get(const std::string& path, const std::function<bool()>& goes_on) {
    // It may be left before it has ended.
    const auto answer = std::make_shared<HttpEnd>(HttpEnd{"no answer", 0, {}});
    start(request(http::verb::get, path),
          {.take =
               [answer](std::string_view bytes) {
                 answer->body += bytes;
                 return answer->body.size() <= kMostBodyBytes;
               },
           .end =
               [answer](HttpEnd end) {
                 if (end.status == 200) end.body = std::move(answer->body);
                 *answer = std::move(end);
               }},
          ClientRequest::Patience::kLimited);
    run(goes_on);
    return *answer;
  }

  void post(const std::string& path, std::string body, HttpStreamHandlers handlers) {
    http::request<http::string_body> message = request(http::verb::post, path);
    message.set(http::field::content_type, "application/json");
    message.body() = std::move(body);
    message.prepare_payload();
    start(std::move(message), std::move(handlers), ClientRequest::Patience::kEndless);
  }

  void at(std::chrono::steady_clock::time_point time, std::function<void()> task) {
    const auto timer = std::make_shared<asio::steady_timer>(io_, time);
    timer->async_wait([timer, task = std::move(task)](error_code error) {
      if (!error) task();
    });
  }

  void run(const std::function<bool()>& goes_on) {
    io_.restart();
    while (!io_.stopped() && goes_on()) io_.run_for(kTick);
  }

 private:
  http::request<http::string_body> request(http::verb verb, const std::string& path) const {
    constexpr unsigned kHttp11 = 11;
    http::request<http::string_body> message(verb, path, kHttp11);
    message.set(http::field::host, authority_of(peer_));
    message.set(http::field::user_agent, "longreach");
    message.set(http::field::connection, "close");
    if (!peer_.key.empty()) message.set(http::field::authorization, "Bearer " + peer_.key);
    return message;
  }

  void start(http::request<http::string_body> message, HttpStreamHandlers handlers,
             ClientRequest::Patience patience) {
    std::make_shared<ClientRequest>(io_, endpoints_, std::move(message), std::move(handlers),
                                    patience)
        ->start();
  }

  asio::io_context io_{1};
  HttpPeer peer_;
  tcp::resolver::results_type endpoints_;
};

HttpClient::HttpClient(const HttpPeer& peer) : impl_(std::make_unique<Impl>(peer)) {}
HttpClient::~HttpClient() = default;

HttpEnd HttpClient::get(const std::string& path, const std::function<bool()>& goes_on) {
  return impl_->get(path, goes_on);
}
void HttpClient::post(const std::string& path, std::string body, HttpStreamHandlers handlers) {
  impl_->post(path, std::move(body), std::move(handlers));
}
void HttpClient::at(std::chrono::steady_clock::time_point time, std::function<void()> task) {
  impl_->at(time, std::move(task));
}
void HttpClient::run(const std::function<bool()>& goes_on) { impl_->run(goes_on); }

}  // namespace longreach::serve
