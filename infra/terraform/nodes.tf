# The fan-out nodes: one ECS service on Fargate.

locals {
  # Without an image there is no service: the first apply makes the repository.
  run_nodes = var.image_tag == null ? 0 : 1

  # Task memory that Go may fill before it collects harder; the rest is for
  # stacks of the kernel's sockets and for bursts.
  gomemlimit_mib = floor(var.node_memory * 0.85)
}

resource "aws_ecr_repository" "nodes" {
  name                 = "${var.name}/fanout"
  image_tag_mutability = "IMMUTABLE"
  tags                 = var.tags

  image_scanning_configuration {
    scan_on_push = true
  }

  dynamic "encryption_configuration" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]
    content {
      encryption_type = "KMS"
      kms_key         = encryption_configuration.value
    }
  }
}

resource "aws_ecr_lifecycle_policy" "nodes" {
  repository = aws_ecr_repository.nodes.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep what one may want to go back to"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 30 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_cloudwatch_log_group" "nodes" {
  name              = "/ecs/${var.name}-nodes"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  tags = var.tags
}

resource "aws_ecs_task_definition" "nodes" {
  count = local.run_nodes
  # Without it Terraform deregisters the running revision before it makes the
  # next one. ECS then starts no node in place of one that ends meanwhile, and a
  # rollback has nothing to go back to. Old revisions stay registered; they cost nothing.
  skip_destroy             = true
  family                   = "${var.name}-nodes"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.node_cpu
  memory                   = var.node_memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.nodes.arn
  tags                     = var.tags

  runtime_platform {
    cpu_architecture        = "ARM64"
    operating_system_family = "LINUX"
  }

  container_definitions = jsonencode([{
    name      = "fanout"
    image     = "${aws_ecr_repository.nodes.repository_url}:${var.image_tag}"
    essential = true

    portMappings = [
      { containerPort = local.listen_port, hostPort = local.listen_port, protocol = "tcp" },
      { containerPort = local.ops_port, hostPort = local.ops_port, protocol = "tcp" },
    ]

    environment = concat([
      { name = "FLEETWIRE_LISTEN", value = "0.0.0.0:${local.listen_port}" },
      { name = "FLEETWIRE_OPS", value = "0.0.0.0:${local.ops_port}" },
      { name = "FLEETWIRE_APPS", value = aws_secretsmanager_secret.apps.arn },
      { name = "FLEETWIRE_DRAIN", value = "${var.drain_seconds}s" },
      { name = "FLEETWIRE_TARGET_GROUP_ARN", value = aws_lb_target_group.nodes.arn },
      { name = "FLEETWIRE_TRUSTED_PROXIES", value = join(",", local.vpc_cidrs) },
      { name = "FLEETWIRE_LOG_FORMAT", value = "json" },
      { name = "GOMEMLIMIT", value = "${local.gomemlimit_mib}MiB" },
    ], local.sink_environment)

    # By version: a new password is a new task definition, and so a rolling
    # deployment. ECS reads the secret when a task starts.
    secrets = [{
      name      = "FLEETWIRE_REDIS_URL"
      valueFrom = "${aws_secretsmanager_secret.redis_url.arn}:::${aws_secretsmanager_secret_version.redis_url.version_id}"
    }]

    # A file for each socket.
    ulimits = [{ name = "nofile", softLimit = 65535, hardLimit = 65535 }]

    # SIGTERM comes after the deregistration delay, when the node has drained. What
    # is stopped in another way has this long: Fargate's most.
    stopTimeout = 120

    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { add = [], drop = ["ALL"] } }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.nodes.name
        awslogs-region        = local.region
        awslogs-stream-prefix = "fanout"
        # A log service that hangs must not stop the sockets.
        mode            = "non-blocking"
        max-buffer-size = "8m"
      }
    }
  }])
}

resource "aws_ecs_service" "nodes" {
  count           = local.run_nodes
  name            = "${var.name}-nodes"
  cluster         = aws_ecs_cluster.this.arn
  task_definition = aws_ecs_task_definition.nodes[0].arn
  tags            = var.tags
  # Not Spot: it takes a node away with two minutes' notice, and its connections too.
  launch_type   = "FARGATE"
  desired_count = var.nodes_min

  network_configuration {
    subnets          = local.private_subnet_ids
    security_groups  = [aws_security_group.this["nodes"].id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.nodes.arn
    container_name   = "fanout"
    container_port   = local.listen_port
  }

  # New nodes first, and half of them at a time: a fleet that comes back at once
  # is the heaviest load there is.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 150
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # On by default; it would end nodes and their connections to even out the zones.
  availability_zone_rebalancing = "DISABLED"

  health_check_grace_period_seconds = 60
  enable_ecs_managed_tags           = true
  propagate_tags                    = "SERVICE"

  lifecycle {
    # Autoscaling's.
    ignore_changes = [desired_count]
  }

  # ECS takes a target group only when it belongs to a balancer; and a task
  # starts only with the permissions in place.
  depends_on = [
    aws_lb_listener_rule.nodes,
    aws_iam_role_policy.execution,
    aws_iam_role_policy.nodes,
  ]
}

# What ECS may do to start a task.
resource "aws_iam_role" "execution" {
  name               = "${var.name}-nodes-execution"
  assume_role_policy = local.assumed_by_tasks
  tags               = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name = "start"
  role = aws_iam_role.execution.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "Image"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = aws_ecr_repository.nodes.arn
      },
      {
        # It knows no resources: AWS takes "*" alone.
        Sid      = "Registry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.nodes.arn}:*"
      },
      {
        Sid      = "RedisURL"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.redis_url.arn
      },
    ], local.decrypt_statement)
  })
}

# What a running node may do.
resource "aws_iam_role" "nodes" {
  name               = "${var.name}-nodes"
  assume_role_policy = local.assumed_by_tasks
  tags               = var.tags
}

resource "aws_iam_role_policy" "nodes" {
  name = "run"
  role = aws_iam_role.nodes.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "Apps"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.apps.arn
      },
      {
        # How a node learns that it drains. It knows no resources: AWS takes "*" alone.
        Sid      = "Draining"
        Effect   = "Allow"
        Action   = "elasticloadbalancing:DescribeTargetHealth"
        Resource = "*"
      },
    ], local.decrypt_statement, local.sink_statements)
  })
}

locals {
  assumed_by_tasks = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      # Only for tasks of this account (the confused deputy).
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account}:*" }
      }
    }]
  })
}
