#include "serve/http_server.hpp"

#include "kernels/base/error.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <future>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace longreach::serve {
namespace {

using std::chrono::milliseconds;

constexpr int kSeconds = 20;  ///< Nothing here may hang.

/// A connection to a port of this machine.
class Client {
 public:
  explicit Client(const std::string& url) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int port = std::stoi(url.substr(url.rfind(':') + 1));
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    const timeval limit{kSeconds, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  Client(const Client&) = delete;
  ~Client() { ::close(socket_); }

  /// Sends what the server takes.
  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  /// Everything up to the end of the connection, or to `end`.
  std::string receive(std::string_view end = {}) {
    std::string text;
    std::array<char, 4096> piece{};
    while (end.empty() || text.find(end) == text.npos) {
      const ssize_t n = ::recv(socket_, piece.data(), piece.size(), 0);
      if (n < 0 && errno == EAGAIN) ADD_FAILURE() << "nothing comes after: " << text;
      if (n <= 0) break;
      text.append(piece.data(), static_cast<std::size_t>(n));
    }
    return text;
  }

  /// Closes the sending side, and waits until the other end knows.
  void end_sending() {
    ::shutdown(socket_, SHUT_WR);
    tcp_info info{};
    do {
      socklen_t size = sizeof info;
      ASSERT_EQ(::getsockopt(socket_, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    } while (info.tcpi_state == TCP_FIN_WAIT1);
  }

  /// The answer to a text, and whatever follows until the connection ends.
  std::string ask(std::string_view text) {
    send(text);
    return receive();
  }

 private:
  int socket_;
};

HttpLimits quick() {
  HttpLimits limits;
  limits.max_connections = 4;
  limits.max_body_bytes = 1000;
  limits.max_bodies_bytes = 1500;
  limits.max_buffered_bytes = 100'000;
  limits.idle = limits.header = limits.body = limits.write = milliseconds(400);
  limits.filler = milliseconds(50);
  return limits;
}

/// A server that answers with what it was asked, or as a path says.
class HttpServerTest : public testing::Test {
 protected:
  explicit HttpServerTest(const HttpLimits& limits = quick()) : server_("127.0.0.1", 0, limits) {
    server_.start(
        {.admit =
             [](const HttpRequest& request) {
               return request.path == "/secret" ? std::optional(HttpAnswer{401, "text/plain", "no"})
                                                : std::nullopt;
             },
         .handle = [this](HttpRequest request,
                          std::shared_ptr<HttpReply> reply) { handle(request, reply); },
         .error_body = [](unsigned, std::string_view message) { return std::string(message); },
         .log =
             [this](const AccessRecord& record) {
               const std::lock_guard lock(mutex_);
               records_.push_back(record);
             }});
  }
  ~HttpServerTest() override { server_.stop(milliseconds(0)); }

  void handle(const HttpRequest& request, const std::shared_ptr<HttpReply>& reply) {
    if (request.path == "/wait" || request.path == "/stream" || request.path == "/flood") {
      reply->on_gone([this] { gone_.set_value(); });
      if (request.path != "/wait") reply->begin_stream("text/event-stream", ": still here\n\n");
      if (request.path == "/flood") reply->write(std::string(50'000'000, 'x'));
      waiting_.set_value(reply);
      return;
    }
    reply->note("figure", 2);
    reply->send({200, "text/plain", request.method + " " + request.path + " " + request.body});
  }

  std::vector<AccessRecord> records() {
    const std::lock_guard lock(mutex_);
    return records_;
  }
  /// Runs something on the thread of connections, and waits for it.
  void on_server(const std::function<void()>& task) {
    std::promise<void> done;
    server_.post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  bool is_gone() {
    return gone_.get_future().wait_for(std::chrono::seconds(kSeconds)) == std::future_status::ready;
  }

  HttpServer server_;
  std::promise<std::shared_ptr<HttpReply>> waiting_;
  std::promise<void> gone_;
  std::mutex mutex_;
  std::vector<AccessRecord> records_;
};

std::string_view body_of(std::string_view answer) {
  return answer.substr(std::min(answer.size(), answer.find("\r\n\r\n") + 4));
}
std::string status_of(const std::string& answer) { return answer.substr(9, 3); }

TEST_F(HttpServerTest, AnswersOneRequestAfterAnother) {
  Client client(server_.url());
  client.send("POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(body_of(client.receive("abc")), "POST /a abc");
  client.send(
      "GET http://x/d HTTP/1.1\r\nHost: x\r\n\r\nGET /e HTTP/1.1\r\nHost: x\r\n"
      "Connection: close\r\n\r\n");
  const std::string both = client.receive();
  EXPECT_NE(both.find("GET /d "), both.npos) << both;
  EXPECT_EQ(body_of(body_of(both)), "GET /e ");
  ASSERT_EQ(records().size(), 3U);
  EXPECT_EQ(records()[0].path, "/a");
  EXPECT_EQ(records()[0].client, "127.0.0.1");
  EXPECT_EQ(records()[0].status, 200U);
  EXPECT_EQ(records()[0].figures.size(), 1U);
}

TEST_F(HttpServerTest, ChunkedBodiesAndExpectations) {
  EXPECT_EQ(body_of(Client(server_.url())
                        .ask("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                             "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")),
            "POST / abc");
  Client client(server_.url());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.receive("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ab");
  EXPECT_EQ(body_of(client.receive("ab")), "POST / ab");
}

TEST_F(HttpServerTest, AHeadHasNoBody) {
  const std::string answer =
      Client(server_.url()).ask("HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(answer.find("Content-Length: 8\r\n"), answer.npos) << answer;
  EXPECT_EQ(body_of(answer), "");
}

TEST_F(HttpServerTest, RequestsThatOthersMayReadOtherwiseAreRefused) {
  for (const std::string fields :
       {"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n", "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 3\r\n", "Content-Length: -3\r\n", "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n", "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Host: y\r\n",
        "Content-Length : 3\r\n", "A\rB: 3\r\n", "A: \x01\r\n"}) {
    const std::string answer =
        Client(server_.url())
            .ask("POST /a HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n3\r\nabc\r\n0\r\n\r\n");
    EXPECT_EQ(status_of(answer), "400") << fields << answer;
    EXPECT_NE(answer.find("Connection: close"), answer.npos);
    EXPECT_EQ(answer.find("HTTP/1.1", 1), answer.npos) << "answered twice: " << fields << answer;
  }
  for (const std::string request :
       {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", "GET /\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz\r\nabc"}) {
    EXPECT_EQ(status_of(Client(server_.url()).ask(request)), "400") << request;
  }
}

TEST_F(HttpServerTest, LimitsEndAConnection) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\n";
  EXPECT_EQ(status_of(Client(server_.url()).ask(head + "Content-Length: 1001\r\n\r\n")), "413");
  EXPECT_EQ(status_of(Client(server_.url())
                          .ask(head + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" +
                               std::string(1001, 'x') + "\r\n0\r\n\r\n")),
            "413");
  EXPECT_EQ(
      status_of(Client(server_.url()).ask(head + "A: " + std::string(16384, 'a') + "\r\n\r\n")),
      "431");
  EXPECT_EQ(status_of(Client(server_.url()).ask(std::string(100'000, 'a'))), "431");
  // All of a large body is read on, so that the answer arrives.
  EXPECT_EQ(
      status_of(Client(server_.url())
                    .ask(head + "Content-Length: 1000000\r\n\r\n" + std::string(1000000, 'x'))),
      "413");
}

TEST_F(HttpServerTest, ARequestThatTakesTooLongIsAnsweredSo) {
  const std::string head = "POST /a HTTP/1.1\r\nHost: x\r\n";
  for (const std::string& half : {std::string("P"), head, head + "Content-Length: 9\r\n\r\nab",
                                  head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                                  head + "Content-Length: 1\r\n\r\na" + head}) {
    const std::string answers = Client(server_.url()).ask(half);
    const std::string answer =
        answers.substr(std::min(answers.size(), answers.find("HTTP/1.1 408")));
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 408") << half << answers;
    EXPECT_NE(answer.find("Connection: close\r\n"), answer.npos) << answer;
  }
  EXPECT_EQ(records().size(), 6U);
  // The bytes of such a body are free again.
  const std::string body(1000, 'x');
  EXPECT_EQ(body_of(Client(server_.url())
                        .ask(head + "Content-Length: 1000\r\nConnection: close\r\n\r\n" + body)),
            "POST /a " + body);
  // A connection without a request ends in silence, as does one between two requests.
  EXPECT_EQ(Client(server_.url()).ask(""), "");
  EXPECT_EQ(body_of(Client(server_.url()).ask("GET /b HTTP/1.1\r\nHost: x\r\n\r\n")), "GET /b ");
}

TEST_F(HttpServerTest, NoBodyIsReadOfWhatIsNotAdmitted) {
  const std::string answer = Client(server_.url())
                                 .ask(
                                     "POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
                                     "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(status_of(answer), "401");
  EXPECT_EQ(body_of(answer), "no");
}

TEST_F(HttpServerTest, BodiesTogetherAreLimited) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
  Client first(server_.url());
  first.send(head + "x");
  on_server([] {});
  Client second(server_.url());
  const std::string answer = second.ask(head);
  EXPECT_EQ(status_of(answer), "503") << answer;
  first.send(std::string(999, 'x'));
  EXPECT_EQ(status_of(first.receive(std::string(1000, 'x'))), "200");
  EXPECT_EQ(status_of(Client(server_.url())
                          .ask("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
                               "1000\r\n\r\n" +
                               std::string(1000, 'y'))),
            "200");
}

TEST_F(HttpServerTest, ConnectionsAreLimited) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(std::make_unique<Client>(server_.url()));
  const std::string answer = Client(server_.url()).receive();
  EXPECT_EQ(status_of(answer), "503");
  EXPECT_NE(answer.find("Retry-After"), answer.npos);
  clients.clear();
  for (int i = 0; i < 100; ++i) {  // the server learns of it in a moment
    Client client(server_.url());
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string later = client.receive();
    if (later.find(" 200 ") != later.npos) return;
    std::this_thread::sleep_for(milliseconds(20));
  }
  FAIL() << "no connection is taken any more";
}

TEST_F(HttpServerTest, StreamsArePiecesAndNeverSilent) {
  Client client(server_.url());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto reply = waiting_.get_future().get();
  EXPECT_NE(client.receive(": still here\n\n").find("e\r\n: still here\n\n"), std::string::npos);
  on_server([&] { reply->write("abc"); });
  on_server([&] { reply->end(); });
  EXPECT_NE(client.receive("0\r\n\r\n").find("3\r\nabc\r\n"), std::string::npos);
  client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.receive("/next").find("GET /next"), std::string::npos);
}

TEST_F(HttpServerTest, AnOldClientGetsAStreamUpToTheEnd) {
  Client client(server_.url());
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  const auto reply = waiting_.get_future().get();
  on_server([&] {
    reply->write("abc");
    reply->end();
  });
  EXPECT_EQ(body_of(client.receive()), "abc");
}

TEST_F(HttpServerTest, AClientThatGoesIsNoticed) {
  auto client = std::make_unique<Client>(server_.url());
  client->send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto reply = waiting_.get_future().get();
  client.reset();
  EXPECT_TRUE(is_gone());
  on_server([&] { reply->send({}); });  // nobody is there
  ASSERT_EQ(records().size(), 1U);
  EXPECT_EQ(records()[0].status, 499U);
}

TEST_F(HttpServerTest, AnAnswerWhoseLastPieceWasSentWhenTheClientWentEndsOnce) {
  Client client(server_.url());
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  const auto reply = waiting_.get_future().get();
  // The server's next look at its sockets finds the end before it handles what the piece's sending
  // reports, as that is posted after the look.
  on_server([&] {
    client.end_sending();
    server_.post([reply] {
      reply->write("abc");
      reply->end();
    });
  });
  EXPECT_TRUE(is_gone());
  EXPECT_EQ(status_of(Client(server_.url()).ask("GET / HTTP/1.0\r\n\r\n")), "200");
  ASSERT_EQ(records().size(), 2U);
  EXPECT_EQ(records()[0].status, 499U);
}

TEST_F(HttpServerTest, AClientThatDoesNotReadLosesItsStream) {
  Client client(server_.url());
  client.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(is_gone());
}

TEST_F(HttpServerTest, AClientThatReadsGetsAPieceOfAnyLength) {
  Client client(server_.url());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto reply = waiting_.get_future().get();
  on_server([&] {
    reply->write(std::string(300'000, 'x'));
    reply->end();
  });
  EXPECT_GT(client.receive("x\r\n0\r\n\r\n").size(), 300'000U);
}

TEST_F(HttpServerTest, APieceMoreThanAClientIsSlowerThanEndsItsStream) {
  Client client(server_.url());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto reply = waiting_.get_future().get();
  on_server([&] {
    reply->write(std::string(50'000'000, 'x'));
    EXPECT_TRUE(records().empty());
    reply->write("x");
    ASSERT_EQ(records().size(), 1U);
    EXPECT_EQ(records()[0].status, 499U);
  });
}

TEST_F(HttpServerTest, ConnectionsEndWithTheirAnswersOnceDrained) {
  Client client(server_.url());
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto reply = waiting_.get_future().get();
  server_.drain();
  on_server([&] { reply->send({200, "text/plain", "late"}); });
  EXPECT_EQ(body_of(client.receive()), "late");
  EXPECT_EQ(status_of(Client(server_.url()).ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), "200");
  server_.stop(milliseconds(1000));
}

TEST(HttpServer, AnAddressThatIsTakenIsRefusedByTheNameOfItsOption) {
  HttpServer first("127.0.0.1", 0, {});
  first.start({});
  const std::string url = first.url();
  const auto port = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  EXPECT_THROW(HttpServer("127.0.0.1", port, {}), base::InputError);
  EXPECT_THROW(HttpServer("no.such.host.invalid", 0, {}), base::InputError);
}

}  // namespace
}  // namespace longreach::serve
