#include "serve/http_server.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/seconds.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <future>
#include <set>
#include <thread>

namespace longreach::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using beast::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kSliceBytes = 65536;
/// Of a connection that is refused more: how long and how much is read on, so that the client gets
/// to see the answer instead of a reset.
constexpr auto kLinger = std::chrono::seconds(2);
constexpr unsigned kClientGone = 499;

/// Now, as a field of answers has it.
std::string date_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 64> text{};
  const std::size_t n = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text.data(), n};
}

/// Status line and fields but those of length and connection; without the empty line.
std::string head_text(unsigned status, std::string_view content_type,
                      const std::vector<std::pair<std::string, std::string>>& fields = {}) {
  const beast::string_view reason = http::obsolete_reason(static_cast<http::status>(status));
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nServer: longreach\r\nDate: {}\r\n", status,
                                 std::string_view(reason.data(), reason.size()), date_text());
  const auto add = [&head](std::string_view name, std::string_view value) {
    LR_CHECK(value.find_first_of("\r\n") == value.npos);
    head += fmt::format("{}: {}\r\n", name, value);
  };
  add("Content-Type", content_type);
  for (const auto& [name, value] : fields) add(name, value);
  return head;
}

/// The path of a request's target, which may begin with a scheme and a host.
std::string path_of(std::string_view target) {
  if (const auto scheme = target.find("://"); scheme != target.npos && target.front() != '/') {
    const auto path = target.find('/', scheme + 3);
    target = path == target.npos ? "/" : target.substr(path);
  }
  return std::string(target.substr(0, target.find_first_of("?#")));
}

/// What is wrong with the fields that say where a request ends. Programs in between that read them
/// otherwise would take its rest for another request. None if nothing is.
std::optional<std::string> framing_fault(const http::request_header<>& head) {
  std::size_t n_lengths = 0, n_encodings = 0;
  bool is_chunked = false;
  for (const auto& field : head) {
    if (field.name() == http::field::content_length) {
      ++n_lengths;
      // Beast takes a list of equal lengths for one.
      const std::string_view value(field.value().data(), field.value().size());
      if (value.find_first_not_of("0123456789") != value.npos) return "no plain Content-Length";
    }
    if (field.name() == http::field::transfer_encoding) {
      ++n_encodings;
      is_chunked = beast::iequals(field.value(), "chunked");
    }
  }
  if (n_lengths > 1) return "two Content-Length fields";
  if (n_lengths > 0 && n_encodings > 0) return "both Content-Length and Transfer-Encoding";
  if (n_encodings > 1 || (n_encodings == 1 && !is_chunked)) {
    return "a Transfer-Encoding that is not just chunked";
  }
  if (n_encodings > 0 && head.version() < 11) return "a Transfer-Encoding in HTTP/1.0";
  if (head.version() >= 11 && head.count(http::field::host) != 1) return "not just one Host field";
  return std::nullopt;
}

class Connection;

/// What all connections share. On their thread, but for what is atomic.
struct Shared {
  HttpLimits limits;
  HttpHandlers handlers = {};
  bool draining = false;
  std::size_t bodies_bytes = 0;
  std::set<std::shared_ptr<Connection>> connections = {};
  std::atomic<std::size_t> n_answering = 0;
};

/// The reply of a connection's current request.
class Reply final : public HttpReply {
 public:
  explicit Reply(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  void send(HttpAnswer answer) override;
  void begin_stream(std::string_view content_type, std::string filler) override;
  void write(std::string_view piece) override;
  void end() override;
  void on_gone(std::function<void()> gone) override {
    if (connection_) {
      gone_ = std::move(gone);
    } else if (!is_complete_) {
      gone();
    }
  }
  void note(std::string name, double value) override {
    record.figures.emplace_back(std::move(name), value);
  }

  /// The answer is written.
  void complete() {
    is_complete_ = true;
    gone_ = {};
    connection_.reset();
  }
  /// The client has gone.
  void give_up() {
    connection_.reset();
    if (const auto gone = std::exchange(gone_, {})) gone();
  }

  AccessRecord record = {};

 private:
  std::shared_ptr<Connection>
      connection_;  ///< Null once the answer is complete or the client gone.
  std::function<void()> gone_;
  bool is_complete_ = false;
};

/// A connection waits for a request, reads it, answers it, and waits again.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, Shared& shared)
      : stream_(std::move(socket)), timer_(stream_.get_executor()), shared_(shared) {
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    stream_.socket().set_option(asio::socket_base::keep_alive(true), ignored);
    const auto peer = stream_.socket().remote_endpoint(ignored);
    client_ = ignored ? std::string("?") : peer.address().to_string();
  }

  void wait_for_request() {
    state_ = State::kWaiting;
    if (buffer_.size() > 0 || readable_) return read_head();
    timer_.expires_after(shared_.limits.idle);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error && self->state_ == State::kWaiting) self->close();
    });
    watch();
  }

  void send(HttpAnswer answer) {
    release_body();
    status_ = answer.status;
    std::string text = head_text(answer.status, answer.content_type, answer.fields);
    text += fmt::format("Content-Length: {}\r\n{}\r\n", answer.body.size(), connection_field());
    if (without_body_) answer.body.clear();
    ended_ = true;
    if (answer.body.size() < kSliceBytes) return output(text + answer.body);
    output(std::move(text));
    output(std::move(answer.body));  // not copied
  }

  void begin_stream(std::string_view content_type, std::string filler) {
    release_body();
    status_ = 200;
    streams_ = true;
    filler_ = std::move(filler);
    std::string text = head_text(status_, content_type,
                                 {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
    if (is_chunked_) {
      text += "Transfer-Encoding: chunked\r\n";
    } else {
      keeps_alive_ = false;  // its end is that of the connection
    }
    output(text + connection_field() + "\r\n");
    wait_for_silence();
  }

  void write(std::string_view piece) {
    if (piece.empty() || without_body_) return;
    last_write_ = Clock::now();
    if (is_chunked_) {
      output(fmt::format("{:x}\r\n{}\r\n", piece.size(), piece));
    } else {
      output(std::string(piece));
    }
  }

  void end() {
    ended_ = true;
    output(is_chunked_ && !without_body_ ? "0\r\n\r\n" : "");
  }

  void close() {
    if (state_ == State::kClosed) return;
    const bool was_answering = state_ == State::kAnswering;
    state_ = State::kClosed;
    const auto self = shared_from_this();
    shared_.connections.erase(self);
    release_body();
    timer_.cancel();
    stream_.close();
    if (!was_answering) return;
    const auto reply = std::exchange(reply_, nullptr);
    log(*reply, kClientGone);
    reply->give_up();
    --shared_.n_answering;
  }

 private:
  enum class State { kWaiting, kReading, kAnswering, kLingering, kClosed };

  /// Learns that there is something to read, or that the client has closed the connection, also
  /// while it is answered.
  void watch() {
    if (watching_) return;
    watching_ = true;
    stream_.socket().async_receive(asio::buffer(&peeked_, 1), tcp::socket::message_peek,
                                   [self = shared_from_this()](error_code error, std::size_t) {
                                     self->watching_ = false;
                                     // A request that is read too slowly has an answer to get.
                                     if (error == asio::error::operation_aborted) return;
                                     if (error) return self->close();
                                     self->readable_ = true;
                                     if (self->state_ == State::kWaiting) self->read_head();
                                   });
  }

  void read_head() {
    state_ = State::kReading;
    readable_ = false;
    timer_.cancel();
    start_ = Clock::now();
    keeps_alive_ = is_chunked_ = without_body_ = streams_ = ended_ = false;
    status_ = 0;
    n_bytes_ = 0;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(shared_.limits.max_header_bytes));
    parser_->body_limit(shared_.limits.max_body_bytes);
    stop_reading_after(shared_.limits.header);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_head(error); });
  }

  /// Ends what is being read then, but not the connection, which has an answer to take.
  void stop_reading_after(std::chrono::milliseconds time) {
    timer_.expires_after(time);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error && self->state_ == State::kReading) self->stream_.cancel();
    });
  }

  void on_head(error_code error) {
    if (state_ == State::kClosed) return;
    const auto& head = parser_->get();
    request_ = {std::string(head.method_string()),
                path_of(std::string_view(head.target().data(), head.target().size())),
                std::string(head[http::field::authorization]),
                {}};
    without_body_ = head.method() == http::verb::head;
    if (error) return refuse(error);
    if (const auto fault = framing_fault(head)) return refuse(400, *fault);
    if (auto answer = shared_.handlers.admit(request_)) return refuse(std::move(*answer));
    const beast::string_view expected = head[http::field::expect];
    if (!expected.empty() && !beast::iequals(expected, "100-continue")) {
      return refuse(417, "an expectation other than 100-continue");
    }
    body_bytes_ =
        parser_->content_length().value_or(parser_->chunked() ? shared_.limits.max_body_bytes : 0);
    if (body_bytes_ > shared_.limits.max_bodies_bytes - shared_.bodies_bytes) {
      body_bytes_ = 0;
      return refuse({503,
                     "application/json",
                     shared_.handlers.error_body(503, "too many large requests at once"),
                     {{"Retry-After", "1"}}});
    }
    shared_.bodies_bytes += body_bytes_;
    keeps_alive_ = head.keep_alive();
    is_chunked_ = head.version() >= 11;
    if (expected.empty() || parser_->is_done()) return read_body();
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kContinue),
                      [self = shared_from_this()](error_code failed, std::size_t) {
                        if (failed || self->state_ == State::kClosed) return self->close();
                        self->read_body();
                      });
  }

  void read_body() {
    stop_reading_after(shared_.limits.body);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_body(error); });
  }

  void on_body(error_code error) {
    if (state_ == State::kClosed) return;
    if (error) return refuse(error);
    request_.body = std::move(parser_->get().body());
    begin_answer();
    watch();
    const auto reply = reply_;
    shared_.handlers.handle(std::move(request_), reply);
  }

  void begin_answer() {
    state_ = State::kAnswering;
    timer_.cancel();
    parser_.reset();
    reply_ = std::make_shared<Reply>(shared_from_this());
    ++shared_.n_answering;
    last_write_ = Clock::now();
    if (shared_.draining) keeps_alive_ = false;
    AccessRecord& record = reply_->record;
    record.client = client_;
    record.method = request_.method;
    record.path = request_.path;
  }

  /// Ends a connection whose request could not be read. Nothing is said to a client that has gone.
  void refuse(error_code error) {
    if (error == asio::error::operation_aborted) {
      return refuse(408, "the request did not come to its end in time");
    }
    if (error == http::error::body_limit) {
      return refuse(413,
                    fmt::format("a body of more than {} bytes", shared_.limits.max_body_bytes));
    }
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return refuse(
          431, fmt::format("more than {} bytes before the body", shared_.limits.max_header_bytes));
    }
    if (error != http::error::end_of_stream && error != http::error::partial_message &&
        error.category() == make_error_code(http::error::bad_method).category()) {
      return refuse(400, fmt::format("malformed HTTP: {}", error.message()));
    }
    close();
  }
  void refuse(unsigned status, std::string_view what) {
    refuse({status, "application/json", shared_.handlers.error_body(status, what), {}});
  }
  void refuse(HttpAnswer answer) {
    begin_answer();
    keeps_alive_ = false;
    reply_->send(std::move(answer));
  }

  std::string connection_field() const {
    return keeps_alive_ ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
  }

  void release_body() { shared_.bodies_bytes -= std::exchange(body_bytes_, 0); }

  void output(std::string text) {
    // One piece may be longer: what a client has had no time to read says nothing of it.
    if (streams_ && !ended_ &&
        pending_.size() + written_.size() - n_written_ > shared_.limits.max_buffered_bytes) {
      return close();
    }
    n_bytes_ += text.size();
    if (pending_.empty()) {
      pending_ = std::move(text);
    } else {
      pending_ += text;
    }
    if (written_.empty()) write_pending();
  }

  void write_pending() {
    if (pending_.empty()) {
      if (ended_) complete();
      return;
    }
    written_ = std::exchange(pending_, {});
    write_slice();
  }

  void write_slice() {
    stream_.expires_after(shared_.limits.write);
    const std::size_t n = std::min(written_.size() - n_written_, kSliceBytes);
    asio::async_write(stream_, asio::buffer(written_.data() + n_written_, n),
                      [self = shared_from_this()](error_code error, std::size_t n_sent) {
                        // What was sent well may be reported after another handler has closed.
                        if (error || self->state_ == State::kClosed) return self->close();
                        self->n_written_ += n_sent;
                        if (self->n_written_ < self->written_.size()) return self->write_slice();
                        self->written_.clear();
                        self->n_written_ = 0;
                        self->write_pending();
                      });
  }

  void wait_for_silence() {
    timer_.expires_after(shared_.limits.filler);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (error || self->state_ != State::kAnswering || self->ended_) return;
      if (Clock::now() - self->last_write_ >= self->shared_.limits.filler) {
        self->write(std::string(self->filler_));
      }
      self->wait_for_silence();
    });
  }

  void complete() {
    const auto reply = std::exchange(reply_, nullptr);
    log(*reply, status_);
    reply->complete();
    --shared_.n_answering;
    timer_.cancel();
    stream_.expires_never();
    if (keeps_alive_ && !shared_.draining) {
      wait_for_request();
    } else {
      linger();
    }
  }

  void linger() {
    state_ = State::kLingering;
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(kLinger);
    read_on();
  }
  void read_on() {
    rest_.resize(kSliceBytes);
    stream_.async_read_some(asio::buffer(rest_),
                            [self = shared_from_this()](error_code error, std::size_t) {
                              if (error || self->state_ == State::kClosed) return self->close();
                              self->read_on();
                            });
  }

  void log(Reply& reply, unsigned status) {
    reply.record.status = status;
    reply.record.n_bytes = n_bytes_;
    reply.record.seconds = base::seconds_since(start_);
    shared_.handlers.log(reply.record);
  }

  beast::tcp_stream stream_;
  asio::steady_timer timer_;  ///< Of waiting, of reading, and of silence in a stream.
  Shared& shared_;
  beast::flat_buffer buffer_{kSliceBytes};
  std::optional<http::request_parser<http::string_body>> parser_;
  State state_ = State::kWaiting;
  std::string client_;
  HttpRequest request_;
  Clock::time_point start_ = {};  ///< Of the request.
  std::shared_ptr<Reply> reply_;  ///< While it is answered.
  std::size_t body_bytes_ = 0;    ///< Counted in shared_.bodies_bytes.
  char peeked_ = 0;
  bool watching_ = false, readable_ = false;
  bool keeps_alive_ = false, is_chunked_ = false, without_body_ = false;
  bool streams_ = false;
  bool ended_ = false;  ///< All of the answer is in pending_ or before.
  unsigned status_ = 0;
  std::size_t n_bytes_ = 0;
  std::string filler_;
  Clock::time_point last_write_ = {};
  std::string pending_;        ///< What is to be written next.
  std::string written_;        ///< What is being written; empty if nothing is.
  std::size_t n_written_ = 0;  ///< Bytes of it that are.
  std::string rest_;           ///< What a refused client still sends.
};

void Reply::send(HttpAnswer answer) {
  if (const auto connection = connection_) connection->send(std::move(answer));
}
void Reply::begin_stream(std::string_view content_type, std::string filler) {
  if (const auto connection = connection_)
    connection->begin_stream(content_type, std::move(filler));
}
void Reply::write(std::string_view piece) {
  if (const auto connection = connection_) connection->write(piece);
}
void Reply::end() {
  if (const auto connection = connection_) connection->end();
}

tcp::endpoint endpoint_of(asio::io_context& io, const std::string& host, std::uint16_t port) {
  error_code error;
  tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(host, fmt::to_string(port), tcp::resolver::numeric_service, error);
  if (error || found.empty()) {
    base::input_error("--host: {} is no address of this machine: {}", host, error.message());
  }
  return found.begin()->endpoint();
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const std::string& host, std::uint16_t port, const HttpLimits& limits)
      : shared_{.limits = limits},
        address_(fmt::format("{} port {}", host, port)),
        acceptor_(io_),
        pause_(io_) {
    const tcp::endpoint endpoint = endpoint_of(io_, host, port);
    try {
      acceptor_.open(endpoint.protocol());
      acceptor_.set_option(tcp::acceptor::reuse_address(true));
      acceptor_.bind(endpoint);
    } catch (const boost::system::system_error& error) {
      refuse_address(error);
    }
    thread_ = std::thread([this] { io_.run(); });
  }

  ~Impl() { stop(Clock::duration::zero()); }

  std::string url() const {
    const tcp::endpoint endpoint = acceptor_.local_endpoint();
    const std::string address = endpoint.address().to_string();
    return endpoint.address().is_v6() ? fmt::format("http://[{}]:{}", address, endpoint.port())
                                      : fmt::format("http://{}:{}", address, endpoint.port());
  }

  void start(HttpHandlers handlers) {
    shared_.handlers = std::move(handlers);
    try {
      acceptor_.listen();
    } catch (const boost::system::system_error& error) {
      refuse_address(error);  // another program has taken it since
    }
    asio::post(io_, [this] { accept(); });
  }

  void post(std::function<void()> task) { asio::post(io_, std::move(task)); }
  void post_work(std::function<void()> task) { asio::post(workers_, std::move(task)); }
  void drain() {
    post([this] { shared_.draining = true; });
  }

  void stop(Clock::duration patience) {
    if (!thread_.joinable()) return;
    workers_.join();
    flush();
    const Clock::time_point latest = Clock::now() + patience;
    while (shared_.n_answering > 0 && Clock::now() < latest) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    post([this] {
      error_code ignored;
      acceptor_.close(ignored);
      pause_.cancel();
      for (const auto& connection : std::set(shared_.connections)) connection->close();
      guard_.reset();
    });
    thread_.join();
  }

 private:
  [[noreturn]] void refuse_address(const boost::system::system_error& error) const {
    base::input_error("--port: cannot listen at {}: {}", address_, error.code().message());
  }

  /// Returns when all that was posted before has run.
  void flush() {
    std::promise<void> done;
    post([&done] { done.set_value(); });
    done.get_future().wait();
  }

  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return accept_later();
      if (shared_.connections.size() < shared_.limits.max_connections) {
        const auto connection = std::make_shared<Connection>(std::move(socket), shared_);
        shared_.connections.insert(connection);
        connection->wait_for_request();
      } else {
        refuse(socket);
      }
      accept();
    });
  }

  /// Most likely there are no descriptors left.
  void accept_later() {
    pause_.expires_after(std::chrono::milliseconds(100));
    pause_.async_wait([this](error_code error) {
      if (!error) accept();
    });
  }

  void refuse(tcp::socket& socket) {
    const std::string body = shared_.handlers.error_body(503, "too many connections");
    const std::string text =
        head_text(503, "application/json", {{"Retry-After", "1"}}) +
        fmt::format("Content-Length: {}\r\nConnection: close\r\n\r\n{}", body.size(), body);
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
  }

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_{io_.get_executor()};
  Shared shared_;
  std::string address_;  ///< As asked for.
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  asio::thread_pool workers_{1};
  std::thread thread_;
};

HttpServer::HttpServer(const std::string& host, std::uint16_t port, const HttpLimits& limits)
    : impl_(std::make_unique<Impl>(host, port, limits)) {}
HttpServer::~HttpServer() = default;

std::string HttpServer::url() const { return impl_->url(); }
void HttpServer::start(HttpHandlers handlers) { impl_->start(std::move(handlers)); }
void HttpServer::drain() { impl_->drain(); }
void HttpServer::stop(std::chrono::milliseconds patience) { impl_->stop(patience); }
void HttpServer::post(std::function<void()> task) { impl_->post(std::move(task)); }
void HttpServer::post_work(std::function<void()> task) { impl_->post_work(std::move(task)); }

}  // namespace longreach::serve
